// Runs the signatures of a SavedModel without Python: the loader, the session and the signatures of TensorFlow Serving.
//
//   run_saved_model FOLDER < requests > answers
//
// FOLDER is a SavedModel, or a folder of versions of one, of which the newest counts.
// The first line that is printed says {"signatures": [names]}, or {"error": message} where FOLDER cannot be loaded.
// Then each line on standard input is a request, answered by one line on standard output:
//
//   {"signature": "encode", "inputs": {"x": {"dtype": "float32", "shape": [1, 2], "data": [0.5, NaN]}}, "repeat": 100}
//   {"outputs": {"mean": {"dtype": ..., "shape": ..., "data": ...}}, "seconds": [...]}
//
// Data is flat, in row-major order; numbers have enough digits to arrive as they were sent, and may be NaN, Infinity and
// -Infinity. "repeat" runs the signature that many times more, and "seconds" says how long each of them took. A request
// that cannot be answered gets {"error": message}, and the next one is read.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <iostream>
#include <limits>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "json/json.h"
#include "saved_model.h"
#include "tensorflow/cc/saved_model/loader.h"
#include "tensorflow/core/framework/tensor.h"
#include "tensorflow/core/framework/types.h"
#include "tensorflow/core/platform/errors.h"
#include "tensorflow/core/protobuf/meta_graph.pb.h"
#include "tensorflow/core/public/session.h"

namespace {

using tensorflow::DataType;
using tensorflow::PartialTensorShape;
using tensorflow::SavedModelBundleLite;
using tensorflow::SignatureDef;
using tensorflow::Tensor;
using tensorflow::TensorInfo;
using tensorflow::TensorShape;

// As numpy calls them; empty for what no signature has.
std::string NameOf(DataType dtype) {
  switch (dtype) {
    case tensorflow::DT_FLOAT:
      return "float32";
    case tensorflow::DT_DOUBLE:
      return "float64";
    case tensorflow::DT_INT32:
      return "int32";
    case tensorflow::DT_INT64:
      return "int64";
    case tensorflow::DT_BOOL:
      return "bool";
    default:
      return "";
  }
}

// The sorted keys of a map, without those that TensorFlow keeps for itself.
template <typename Map>
std::vector<std::string> Names(const Map& map) {
  std::vector<std::string> names;
  for (const auto& entry : map) {
    if (entry.first.rfind("__", 0) != 0) names.push_back(entry.first);
  }
  std::sort(names.begin(), names.end());
  return names;
}

template <typename Map>
std::string Listed(const Map& map) {
  return absl::StrJoin(Names(map), ", ");
}

template <typename T>
bool ReadNumber(const Json::Value& value, T* number) {
  if constexpr (std::is_same_v<T, bool>) {
    if (!value.isBool()) return false;
    *number = value.asBool();
  } else if constexpr (std::is_floating_point_v<T>) {
    if (!value.isNumeric()) return false;
    *number = static_cast<T>(value.asDouble());
  } else {
    // A number with a fraction is no Int64 either.
    if (!value.isInt64()) return false;
    const Json::Int64 found = value.asInt64();
    if (found < std::numeric_limits<T>::min() || found > std::numeric_limits<T>::max()) return false;
    *number = static_cast<T>(found);
  }
  return true;
}

template <typename T>
absl::Status ReadNumbers(const std::string& name, const Json::Value& data, Tensor* tensor) {
  auto flat = tensor->flat<T>();
  for (Json::ArrayIndex i = 0; i < data.size(); ++i) {
    if (!ReadNumber<T>(data[i], &flat(i))) {
      return absl::InvalidArgumentError(
          absl::StrCat("'", name, "' is ", NameOf(tensor->dtype()), ", and entry ", i, " of its data is none."));
    }
  }
  return absl::OkStatus();
}

absl::Status ReadTensor(const std::string& name, const TensorInfo& declared, const Json::Value& given, Tensor* tensor) {
  const bool complete = given.isObject() && given["dtype"].isString() && given["shape"].isArray() &&
                        given["data"].isArray();
  if (!complete) {
    return absl::InvalidArgumentError(absl::StrCat("'", name, "' must be an object of dtype, shape and flat data."));
  }
  const std::string dtype = given["dtype"].asString();
  if (dtype != NameOf(declared.dtype())) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", name, "' must be ", NameOf(declared.dtype()), ", got ", dtype, "."));
  }
  TensorShape shape;
  for (const Json::Value& size : given["shape"]) {
    if (!size.isInt64() || size.asInt64() < 0) {
      return absl::InvalidArgumentError(absl::StrCat("'", name, "' has a shape that is no list of sizes."));
    }
    TF_RETURN_IF_ERROR(shape.AddDimWithStatus(size.asInt64()));
  }
  const PartialTensorShape expected(declared.tensor_shape());
  if (!expected.IsCompatibleWith(shape)) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", name, "' must have the shape ", expected.DebugString(), ", got ", shape.DebugString(), "."));
  }
  const Json::Value& data = given["data"];
  if (shape.num_elements() != static_cast<int64_t>(data.size())) {
    return absl::InvalidArgumentError(absl::StrCat("'", name, "' of shape ", shape.DebugString(), " needs ",
                                                   shape.num_elements(), " numbers, got ", data.size(), "."));
  }
  *tensor = Tensor(declared.dtype(), shape);
  switch (declared.dtype()) {
    case tensorflow::DT_FLOAT:
      return ReadNumbers<float>(name, data, tensor);
    case tensorflow::DT_DOUBLE:
      return ReadNumbers<double>(name, data, tensor);
    case tensorflow::DT_INT32:
      return ReadNumbers<int32_t>(name, data, tensor);
    case tensorflow::DT_INT64:
      return ReadNumbers<int64_t>(name, data, tensor);
    case tensorflow::DT_BOOL:
      return ReadNumbers<bool>(name, data, tensor);
    default:
      return absl::UnimplementedError(absl::StrCat("'", name, "' has a type that cannot be given."));
  }
}

template <typename T>
void WriteNumbers(const Tensor& tensor, Json::Value* data) {
  const auto flat = tensor.flat<T>();
  for (int64_t i = 0; i < flat.size(); ++i) {
    if constexpr (std::is_same_v<T, bool>) {
      data->append(Json::Value(static_cast<bool>(flat(i))));
    } else if constexpr (std::is_floating_point_v<T>) {
      data->append(Json::Value(static_cast<double>(flat(i))));
    } else {
      data->append(Json::Value(static_cast<Json::Int64>(flat(i))));
    }
  }
}

absl::Status WriteTensor(const std::string& name, const Tensor& tensor, Json::Value* written) {
  (*written)["dtype"] = NameOf(tensor.dtype());
  Json::Value& shape = (*written)["shape"] = Json::Value(Json::arrayValue);
  for (int i = 0; i < tensor.dims(); ++i) shape.append(Json::Value(static_cast<Json::Int64>(tensor.dim_size(i))));
  Json::Value& data = (*written)["data"] = Json::Value(Json::arrayValue);
  switch (tensor.dtype()) {
    case tensorflow::DT_FLOAT:
      WriteNumbers<float>(tensor, &data);
      break;
    case tensorflow::DT_DOUBLE:
      WriteNumbers<double>(tensor, &data);
      break;
    case tensorflow::DT_INT32:
      WriteNumbers<int32_t>(tensor, &data);
      break;
    case tensorflow::DT_INT64:
      WriteNumbers<int64_t>(tensor, &data);
      break;
    case tensorflow::DT_BOOL:
      WriteNumbers<bool>(tensor, &data);
      break;
    default:
      return absl::UnimplementedError(absl::StrCat("'", name, "' has a type that cannot be printed."));
  }
  return absl::OkStatus();
}

absl::Status Answer(const SavedModelBundleLite& bundle, const Json::Value& request, Json::Value* answer) {
  if (!request.isObject() || !request["signature"].isString() || !request["inputs"].isObject()) {
    return absl::InvalidArgumentError("A request is an object of \"signature\", a name, and \"inputs\", an object.");
  }
  const Json::Value& repeat = request["repeat"];
  if (!repeat.isNull() && (!repeat.isInt() || repeat.asInt() < 0)) {
    return absl::InvalidArgumentError("\"repeat\" is a count.");
  }
  const std::string name = request["signature"].asString();
  const auto& signatures = bundle.GetSignatures();
  const auto found = signatures.find(name);
  if (found == signatures.end()) {
    return absl::NotFoundError(
        absl::StrCat("There is no signature '", name, "'. The model has ", Listed(signatures), "."));
  }
  const SignatureDef& signature = found->second;
  for (const std::string& given : request["inputs"].getMemberNames()) {
    if (signature.inputs().count(given) == 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("'", name, "' takes ", Listed(signature.inputs()), ", and no '", given, "'."));
    }
  }
  std::vector<std::pair<std::string, Tensor>> inputs;
  for (const auto& [key, declared] : signature.inputs()) {
    if (!request["inputs"].isMember(key)) {
      return absl::InvalidArgumentError(absl::StrCat("'", name, "' needs the input '", key, "'."));
    }
    inputs.emplace_back(declared.name(), Tensor());
    TF_RETURN_IF_ERROR(ReadTensor(key, declared, request["inputs"][key], &inputs.back().second));
  }
  std::vector<std::string> keys, tensors;
  for (const auto& [key, declared] : signature.outputs()) {
    keys.push_back(key);
    tensors.push_back(declared.name());
  }

  std::vector<Tensor> outputs;
  TF_RETURN_IF_ERROR(bundle.GetSession()->Run(inputs, tensors, {}, &outputs));
  (*answer)["outputs"] = Json::Value(Json::objectValue);
  for (size_t i = 0; i < keys.size(); ++i) {
    TF_RETURN_IF_ERROR(WriteTensor(keys[i], outputs[i], &(*answer)["outputs"][keys[i]]));
  }
  Json::Value& seconds = (*answer)["seconds"] = Json::Value(Json::arrayValue);
  for (int i = 0; !repeat.isNull() && i < repeat.asInt(); ++i) {
    const auto start = std::chrono::steady_clock::now();
    TF_RETURN_IF_ERROR(bundle.GetSession()->Run(inputs, tensors, {}, &outputs));
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
    seconds.append(Json::Value(taken.count()));
  }
  return absl::OkStatus();
}

void Print(Json::StreamWriter* writer, const Json::Value& line) {
  writer->write(line, &std::cout);
  std::cout << std::endl;
}

Json::Value ErrorOf(const absl::Status& status) {
  Json::Value line;
  line["error"] = std::string(status.message());
  line["code"] = absl::StatusCodeToString(status.code());
  return line;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: " << argv[0] << " FOLDER < requests > answers" << std::endl;
    return 2;
  }
  Json::StreamWriterBuilder format;
  format["indentation"] = "";
  format["useSpecialFloats"] = true;
  format["precision"] = std::numeric_limits<double>::max_digits10;
  const std::unique_ptr<Json::StreamWriter> writer(format.newStreamWriter());

  SavedModelBundleLite bundle;
  absl::Status loaded;
  try {
    loaded = tensorflow::LoadSavedModel(tensorflow::SessionOptions(), tensorflow::RunOptions(),
                                        tfdvae::FindVersion(argv[1]), {"serve"}, &bundle);
  } catch (const tfdvae::Error& error) {
    loaded = absl::NotFoundError(error.what());
  }
  if (!loaded.ok()) {
    Print(writer.get(), ErrorOf(loaded));
    return 1;
  }
  Json::Value ready;
  ready["signatures"] = Json::Value(Json::arrayValue);
  for (const std::string& name : Names(bundle.GetSignatures())) ready["signatures"].append(Json::Value(name));
  Print(writer.get(), ready);

  Json::CharReaderBuilder syntax;
  syntax["allowSpecialFloats"] = true;
  const std::unique_ptr<Json::CharReader> reader(syntax.newCharReader());
  for (std::string line; std::getline(std::cin, line);) {
    Json::Value request, answer(Json::objectValue);
    std::string message;
    absl::Status status;
    if (reader->parse(line.data(), line.data() + line.size(), &request, &message)) {
      status = Answer(bundle, request, &answer);
    } else {
      status = absl::InvalidArgumentError(absl::StrCat("This line is no JSON: ", message));
    }
    Print(writer.get(), status.ok() ? answer : ErrorOf(status));
  }
  return 0;
}
