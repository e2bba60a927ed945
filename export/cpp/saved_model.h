// A SavedModel of tfdvae in C++, by the loader of TensorFlow Serving: load it, run signatures by name, stream frames.
//
//   tfdvae::SavedModel model("served/balls");          // a version, or the folder of all versions: the newest counts
//   tfdvae::Arrays out = model.Run("encode", {{"x", tfdvae::Array({1, 2, 3}, values)}, {"mask", ...}});
//
//   tfdvae::Stream stream(model);                      // one sequence, or several side by side
//   float score = stream.Push(frame).at("score").flat<float>()(0);
//   tfdvae::Tensor x = stream.Generate();              // [B, D], drawn and fed back
//
// Everything throws tfdvae::Error, which says what was wrong, and leaves a stream where it was. `model.known()` says
// what the description knows of the training data, and compares columns, units, periods and rates with it (known.h
// beside this one); a stream warns once, on standard error, of frames far outside of these data. A SavedModel may be
// shared by threads, a Stream may not. Header only; `python -m export.native --link` prints how to compile what
// includes it.

#ifndef TFDVAE_SAVED_MODEL_H_
#define TFDVAE_SAVED_MODEL_H_

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <iostream>
#include <map>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "json/json.h"
#include "known.h"
#include "tensorflow/cc/saved_model/loader.h"
#include "tensorflow/core/framework/tensor.h"
#include "tensorflow/core/platform/env.h"
#include "tensorflow/core/protobuf/meta_graph.pb.h"
#include "tensorflow/core/public/session.h"

namespace tfdvae {

using tensorflow::Tensor;
using Arrays = std::map<std::string, Tensor>;

class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// A float32 tensor of these sizes, row by row.
inline Tensor Array(const std::vector<int64_t>& shape, const std::vector<float>& values) {
  Tensor tensor(tensorflow::DT_FLOAT, tensorflow::TensorShape(shape));
  if (tensor.NumElements() != static_cast<int64_t>(values.size())) {
    throw Error(absl::StrCat("A tensor of ", tensor.NumElements(), " numbers was given ", values.size(), "."));
  }
  std::copy(values.begin(), values.end(), tensor.flat<float>().data());
  return tensor;
}

// The folder of a SavedModel: `path` itself, or the newest of the versions in it.
inline std::string FindVersion(const std::string& path) {
  namespace fs = std::filesystem;
  int64_t newest = -1;
  std::string found = path;
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(path, none)) {
    const std::string name = entry.path().filename().string();
    const bool number = !name.empty() && name.size() < 19 && name.find_first_not_of("0123456789") == std::string::npos;
    if (number && entry.is_directory(none) && std::stoll(name) > newest) {
      newest = std::stoll(name);
      found = entry.path().string();
    }
  }
  if (!fs::is_regular_file(fs::path(found) / "saved_model.pb", none)) {
    throw Error(absl::StrCat(path, " holds neither a SavedModel nor versions of one."));
  }
  return found;
}

// What the description of an export says of an input.
struct Field {
  std::vector<int64_t> shape;  // -1 for an axis of any size
  tensorflow::DataType dtype;
  std::string random;  // how noise is drawn, "normal" or "uniform"; empty for all else
};

class SavedModel {
 public:
  explicit SavedModel(const std::string& path) : folder(FindVersion(path)) {
    Check(tensorflow::LoadSavedModel(tensorflow::SessionOptions(), tensorflow::RunOptions(), folder, {"serve"}, &bundle_));
    std::string text;
    Check(tensorflow::ReadFileToString(tensorflow::Env::Default(), folder + "/signatures.json", &text));
    const std::unique_ptr<Json::CharReader> reader(Json::CharReaderBuilder().newCharReader());
    std::string message;
    if (!reader->parse(text.data(), text.data() + text.size(), &description, &message) ||
        description["format"].asString() != "tfdvae.signatures") {
      throw Error(absl::StrCat(folder, "/signatures.json describes no signatures: ", message));
    }
    known_ = Known(text);
  }

  const Known& known() const { return known_; }  // of the training data

  // The outputs of a signature by name.
  Arrays Run(const std::string& name, const Arrays& given) const {
    const auto& signature = Signature(name);
    std::vector<std::pair<std::string, Tensor>> inputs;
    for (const auto& [key, declared] : signature.inputs()) {
      const auto found = given.find(key);
      if (found == given.end()) throw Error(absl::StrCat("'", name, "' needs the input '", key, "'."));
      const tensorflow::PartialTensorShape expected(declared.tensor_shape());
      if (found->second.dtype() != declared.dtype() || !expected.IsCompatibleWith(found->second.shape())) {
        throw Error(absl::StrCat("'", name, "' takes '", key, "' as ", tensorflow::DataTypeString(declared.dtype()),
                                 expected.DebugString(), ", got ", found->second.DebugString(0)));
      }
      inputs.emplace_back(declared.name(), found->second);
    }
    for (const auto& [key, tensor] : given) {
      if (signature.inputs().count(key) == 0) throw Error(absl::StrCat("'", name, "' takes no '", key, "'."));
    }
    std::vector<std::string> keys, tensors;
    for (const auto& [key, declared] : signature.outputs()) {
      keys.push_back(key);
      tensors.push_back(declared.name());
    }
    std::vector<Tensor> outputs;
    Check(bundle_.GetSession()->Run(inputs, tensors, {}, &outputs));
    Arrays found;
    for (size_t i = 0; i < keys.size(); ++i) found.emplace(keys[i], outputs[i]);
    return found;
  }

  std::vector<std::string> Signatures() const {
    std::vector<std::string> names;
    for (const auto& entry : bundle_.GetSignatures()) {
      if (entry.first.rfind("__", 0) != 0) names.push_back(entry.first);
    }
    std::sort(names.begin(), names.end());
    return names;
  }

  // Inputs of a signature by name, as the description says.
  std::map<std::string, Field> Inputs(const std::string& name) const {
    const auto& declared = Signature(name).inputs();
    std::map<std::string, Field> found;
    for (const Json::Value& one : description["signatures"][name]["inputs"]) {
      Field field;
      for (const Json::Value& size : one["shape"]) field.shape.push_back(size.asInt64());
      field.random = one.get("random", "").asString();
      field.dtype = declared.at(one["name"].asString()).dtype();
      found.emplace(one["name"].asString(), field);
    }
    return found;
  }

  const std::string folder;
  Json::Value description;  // signatures.json

 private:
  static void Check(const absl::Status& status) {
    if (!status.ok()) throw Error(std::string(status.message()));
  }

  const tensorflow::SignatureDef& Signature(const std::string& name) const {
    const auto& all = bundle_.GetSignatures();
    const auto found = all.find(name);
    if (found == all.end()) {
      throw Error(absl::StrCat("There is no signature '", name, "'. The model has ", absl::StrJoin(Signatures(), ", "), "."));
    }
    return found->second;
  }

  Known known_;
  tensorflow::SavedModelBundleLite bundle_;
};

// A place in `batch_size` sequences, which frames that are pushed or drawn move on.
class Stream {
 public:
  // `of_sequence`: context, or given frames, where the model has them; `sample`: latents of pushed frames are drawn.
  explicit Stream(const SavedModel& model, int batch_size = 1, uint64_t seed = 0, bool sample = false,
                  Arrays of_sequence = {})
      : model_(model), batch_size_(batch_size), sample_(sample), of_sequence_(std::move(of_sequence)), watch_(model.known()),
        random_(seed) {
    Reset();
  }

  void Reset() {
    Arrays given = of_sequence_;
    const auto takes = model_.Inputs("reset");
    if (takes.count("batch_size")) {
      Tensor size(tensorflow::DT_INT32, {});
      size.scalar<int32_t>()() = batch_size_;
      given.emplace("batch_size", size);
    }
    if (takes.count("row")) {
      Tensor rows(tensorflow::DT_INT32, {batch_size_});
      rows.flat<int32_t>().setZero();
      given.emplace("row", rows);
    }
    state_ = States(Ask("reset", given, false));
  }

  // Takes in x_t [B, D]; `others`: u, next_u and observed, where the model takes them. Returns the outputs of `step`.
  Arrays Push(const Tensor& x, Arrays others = {}) {
    const bool whole = others.count("observed") == 0;  // what is not observed may hold anything
    others.emplace("x", x);
    Arrays found = Ask("step", others, !sample_);
    state_ = States(found);
    const int64_t features = x.NumElements() / batch_size_;
    for (int i = 0; whole && i < batch_size_; ++i) {
      const std::string warning = watch_(x.flat<float>().data() + i * features, features);
      if (!warning.empty()) std::cerr << "WARNING: " << warning << std::endl;
    }
    return found;
  }

  // Draws x_t [B, D], and goes on from there.
  Tensor Generate(const Arrays& others = {}) {
    const Arrays found = Ask("generate_step", others, false);
    state_ = States(found);
    return found.at("x");
  }

  const Arrays& state() const { return state_; }
  void Restore(Arrays state) { state_ = std::move(state); }

 private:
  Arrays Ask(const std::string& name, Arrays given, bool middle) {
    given.insert(state_.begin(), state_.end());
    const auto takes = model_.Inputs(name);
    for (auto it = given.begin(); it != given.end();) {
      // A reset forgets the state.
      it = takes.count(it->first) == 0 && it->first.rfind("state_", 0) == 0 ? given.erase(it) : std::next(it);
    }
    for (const auto& [key, field] : takes) {
      if (!field.random.empty()) given.emplace(key, Noise(field, middle));
    }
    Arrays found = model_.Run(name, given);
    const auto valid = found.find("valid");
    if (valid != found.end()) {
      for (int64_t i = 0; i < valid->second.NumElements(); ++i) {
        if (!valid->second.flat<bool>()(i)) throw Error(absl::StrCat("'", name, "' refused the values of row ", i, "."));
      }
    }
    return found;
  }

  Tensor Noise(const Field& field, bool middle) {
    tensorflow::TensorShape shape;
    for (const int64_t size : field.shape) shape.AddDim(size < 0 ? batch_size_ : size);
    Tensor noise(tensorflow::DT_FLOAT, shape);
    auto flat = noise.flat<float>();
    const bool normal = field.random == "normal";
    std::normal_distribution<float> gaussian;
    for (int64_t i = 0; i < flat.size(); ++i) {
      // Strictly inside of (0, 1), and exact: the logarithms of x and 1 - x are finite.
      if (middle) flat(i) = normal ? 0.0f : 0.5f;
      else flat(i) = normal ? gaussian(random_) : (static_cast<float>(random_() >> 41) + 0.5f) * 0x1p-23f;
    }
    return noise;
  }

  static Arrays States(const Arrays& outputs) {
    Arrays found;
    for (const auto& [name, tensor] : outputs) {
      if (name.rfind("state_", 0) == 0) found.emplace(name, tensor);
    }
    return found;
  }

  const SavedModel& model_;
  const int batch_size_;
  const bool sample_;
  Arrays of_sequence_, state_;
  Watch watch_;
  std::mt19937_64 random_;
};

}  // namespace tfdvae

#endif  // TFDVAE_SAVED_MODEL_H_
