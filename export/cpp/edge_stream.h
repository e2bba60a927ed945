// A .tflite file of tfdvae in C++, by LiteRT alone: no TensorFlow, no Python, no headers of LiteRT's.
//
//   tfdvae::EdgeStream stream("balls.tflite");
//   auto out = stream.Push({0.1f, 0.2f});              // the outputs of `step` by name, such as out.at("score")[0], nats
//   std::vector<float> x = stream.Generate();          // [D], drawn and fed back
//
// What `export/edge/stream.py` is in Python: a place in a sequence, which frames that come in, or are drawn, move on. Any
// error is a tfdvae::EdgeError and leaves the stream where it was. Not for several threads at once. Memory is constant.
// `stream.known()` says what the file knows of the training data, and compares columns, units, periods and rates with it
// (known.h beside this one); a frame far outside of these data is warned of on standard error, once.
//
// Link libLiteRt.so, of LiteRT 2.1 or later; that of the wheel ai-edge-litert will do (`python -m export.native --link
// --edge` prints the arguments). The few functions of its C interface that are used are declared here.

#ifndef TFDVAE_EDGE_STREAM_H_
#define TFDVAE_EDGE_STREAM_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "known.h"

extern "C" {
typedef struct LiteRtEnvironmentT* LiteRtEnvironment;
typedef struct LiteRtModelT* LiteRtModel;
typedef struct LiteRtOptionsT* LiteRtOptions;
typedef struct LiteRtCompiledModelT* LiteRtCompiledModel;
typedef struct LiteRtSignatureT* LiteRtSignature;
typedef struct LiteRtTensorT* LiteRtTensor;
typedef struct LiteRtTensorBufferT* LiteRtTensorBuffer;
typedef struct LiteRtTensorBufferRequirementsT* LiteRtTensorBufferRequirements;

int LiteRtCreateEnvironment(int num_options, const void* options, LiteRtEnvironment* environment);
void LiteRtDestroyEnvironment(LiteRtEnvironment environment);
int LiteRtCreateModelFromFile(LiteRtEnvironment environment, const char* filename, LiteRtModel* model);
void LiteRtDestroyModel(LiteRtModel model);
int LiteRtCreateOptions(LiteRtOptions* options);
void LiteRtDestroyOptions(LiteRtOptions options);
int LiteRtSetOptionsHardwareAccelerators(LiteRtOptions options, int accelerators);
int LiteRtCreateCompiledModel(LiteRtEnvironment environment, LiteRtModel model, LiteRtOptions options,
                              LiteRtCompiledModel* compiled);
void LiteRtDestroyCompiledModel(LiteRtCompiledModel compiled);
int LiteRtGetNumModelSignatures(LiteRtModel model, size_t* count);
int LiteRtGetModelSignature(LiteRtModel model, size_t index, LiteRtSignature* signature);
int LiteRtGetSignatureKey(LiteRtSignature signature, const char** key);
int LiteRtGetNumSignatureInputs(LiteRtSignature signature, size_t* count);
int LiteRtGetSignatureInputName(LiteRtSignature signature, size_t index, const char** name);
int LiteRtGetSignatureInputTensorByIndex(LiteRtSignature signature, size_t index, LiteRtTensor* tensor);
int LiteRtGetNumSignatureOutputs(LiteRtSignature signature, size_t* count);
int LiteRtGetSignatureOutputName(LiteRtSignature signature, size_t index, const char** name);
int LiteRtGetSignatureOutputTensorByIndex(LiteRtSignature signature, size_t index, LiteRtTensor* tensor);
int LiteRtGetRankedTensorType(LiteRtTensor tensor, void* type);
int LiteRtGetCompiledModelInputBufferRequirements(LiteRtCompiledModel compiled, size_t signature, size_t index,
                                                  LiteRtTensorBufferRequirements* requirements);
int LiteRtGetCompiledModelOutputBufferRequirements(LiteRtCompiledModel compiled, size_t signature, size_t index,
                                                   LiteRtTensorBufferRequirements* requirements);
int LiteRtCreateManagedTensorBufferFromRequirements(LiteRtEnvironment environment, const void* type,
                                                    LiteRtTensorBufferRequirements requirements,
                                                    LiteRtTensorBuffer* buffer);
void LiteRtDestroyTensorBuffer(LiteRtTensorBuffer buffer);
int LiteRtGetTensorBufferPackedSize(LiteRtTensorBuffer buffer, size_t* size);
int LiteRtLockTensorBuffer(LiteRtTensorBuffer buffer, void** memory, int mode);
int LiteRtUnlockTensorBuffer(LiteRtTensorBuffer buffer);
int LiteRtRunCompiledModel(LiteRtCompiledModel compiled, size_t signature, size_t num_inputs,
                           LiteRtTensorBuffer* inputs, size_t num_outputs, LiteRtTensorBuffer* outputs);
}

namespace tfdvae {

class EdgeError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

using Bytes = std::vector<char>;  // of a tensor, as they lie in memory
using EdgeState = std::map<std::string, Bytes>;
using Floats = std::map<std::string, std::vector<float>>;

// signatures.json, which stands uncompressed in the zip archive behind the model.
inline std::string ReadDescription(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string all((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const auto number = [&all](size_t at, int bytes) {
    size_t value = 0;
    for (int i = 0; i < bytes; ++i) value |= static_cast<size_t>(static_cast<unsigned char>(all.at(at + i))) << (8 * i);
    return value;
  };
  try {
    const size_t end = all.rfind("PK\x05\x06");
    const size_t local = number(number(end + 16, 4) + 42, 4);
    const size_t begin = local + 30 + number(local + 26, 2) + number(local + 28, 2);
    const std::string text = all.substr(begin, number(number(end + 16, 4) + 24, 4));
    if (end != std::string::npos && text.find("\"tfdvae.signatures\"") != std::string::npos) return text;
  } catch (const std::out_of_range&) {
  }
  throw EdgeError(path + " is no file that tfdvae exported to LiteRT, or is damaged.");
}

class EdgeStream {
 public:
  explicit EdgeStream(const std::string& path, uint64_t seed = 0, bool sample = false)
      : path_(path), sample_(sample), random_(seed), description_(ReadDescription(path)) {
    try {
      known_ = Known(description_);
    } catch (const std::runtime_error& error) {
      throw EdgeError(path_ + " cannot be read: " + error.what());
    }
    watch_ = Watch(known_);
    try {
      Open();
      Reset();
    } catch (...) {
      Close();
      throw;
    }
  }
  EdgeStream(const EdgeStream&) = delete;
  EdgeStream& operator=(const EdgeStream&) = delete;
  ~EdgeStream() { Close(); }

  // Goes back to before the first frame. `of_sequence`: context, where the model has one.
  void Reset(const Floats& of_sequence = {}) {
    EdgeState none;
    none.swap(state_);
    try {
      Ask("reset", of_sequence, false);
    } catch (...) {
      state_.swap(none);
      throw;
    }
  }

  // Takes in x_t [D]; `others`: u and next_u, where the model is driven. Returns the outputs of `step`.
  Floats Push(const std::vector<float>& x, Floats others = {}) {
    others["x"] = x;
    Floats found = Ask("step", others, !sample_);
    const std::string warning = watch_(x.data(), x.size());
    if (!warning.empty()) std::cerr << "WARNING: " << warning << std::endl;
    return found;
  }

  // Draws x_t [D], and goes on from there.
  std::vector<float> Generate(const Floats& others = {}) { return Ask("generate_step", others, false).at("x"); }

  const EdgeState& state() const { return state_; }
  void Restore(const EdgeState& state) { state_ = state; }
  const std::string& description() const { return description_; }  // JSON
  const Known& known() const { return known_; }                      // of the training data

 private:
  struct Port {
    std::string name;
    LiteRtTensorBuffer buffer;
    size_t size;
    bool floats;
  };
  struct Function {
    size_t index;
    std::vector<Port> inputs, outputs;
  };

  void Check(int status, const std::string& what) const {
    if (status != 0) throw EdgeError(path_ + ": LiteRT failed to " + what + ", status " + std::to_string(status) + ".");
  }

  void Open() {
    Check(LiteRtCreateEnvironment(0, nullptr, &environment_), "start");
    Check(LiteRtCreateModelFromFile(environment_, path_.c_str(), &model_), "read it");
    Check(LiteRtCreateOptions(&options_), "make options");
    constexpr int kCpu = 1;
    Check(LiteRtSetOptionsHardwareAccelerators(options_, kCpu), "choose the CPU");
    Check(LiteRtCreateCompiledModel(environment_, model_, options_, &compiled_), "load it");
    size_t count = 0;
    Check(LiteRtGetNumModelSignatures(model_, &count), "count signatures");
    for (size_t i = 0; i < count; ++i) {
      LiteRtSignature signature;
      const char* key;
      Check(LiteRtGetModelSignature(model_, i, &signature), "find a signature");
      Check(LiteRtGetSignatureKey(signature, &key), "name a signature");
      const std::string name = key;
      // The others have axes of any size.
      if (name != "reset" && name != "step" && name != "generate_step") continue;
      Function& function = functions_[name] = Function{i, {}, {}};
      size_t inputs = 0, outputs = 0;
      Check(LiteRtGetNumSignatureInputs(signature, &inputs), "count inputs");
      Check(LiteRtGetNumSignatureOutputs(signature, &outputs), "count outputs");
      for (size_t k = 0; k < inputs; ++k) Add(signature, i, k, true, &function.inputs);
      for (size_t k = 0; k < outputs; ++k) Add(signature, i, k, false, &function.outputs);
    }
    if (functions_.count("reset") == 0) throw EdgeError(path_ + " cannot stream: it has no 'reset'.");
  }

  void Add(LiteRtSignature signature, size_t index, size_t k, bool input, std::vector<Port>* ports) {
    LiteRtTensor tensor;
    LiteRtTensorBufferRequirements requirements;
    const char* name;
    // Its first word is the type of elements; how the shape is stored differs by version, and is of no concern here.
    alignas(16) unsigned char type[512] = {};
    if (input) {
      Check(LiteRtGetSignatureInputName(signature, k, &name), "name an input");
      Check(LiteRtGetSignatureInputTensorByIndex(signature, k, &tensor), "find an input");
      Check(LiteRtGetCompiledModelInputBufferRequirements(compiled_, index, k, &requirements), "size an input");
    } else {
      Check(LiteRtGetSignatureOutputName(signature, k, &name), "name an output");
      Check(LiteRtGetSignatureOutputTensorByIndex(signature, k, &tensor), "find an output");
      Check(LiteRtGetCompiledModelOutputBufferRequirements(compiled_, index, k, &requirements), "size an output");
    }
    Check(LiteRtGetRankedTensorType(tensor, type), "tell a type");
    int32_t element;
    std::memcpy(&element, type, sizeof(element));
    Port port{name, nullptr, 0, element == 1};
    Check(LiteRtCreateManagedTensorBufferFromRequirements(environment_, type, requirements, &port.buffer), "reserve memory");
    ports->push_back(port);
    Check(LiteRtGetTensorBufferPackedSize(port.buffer, &ports->back().size), "size memory");
  }

  void Close() {
    for (auto& [name, function] : functions_) {
      for (const auto* ports : {&function.inputs, &function.outputs}) {
        for (const Port& port : *ports) LiteRtDestroyTensorBuffer(port.buffer);
      }
    }
    functions_.clear();
    if (compiled_ != nullptr) LiteRtDestroyCompiledModel(compiled_);
    if (options_ != nullptr) LiteRtDestroyOptions(options_);
    if (model_ != nullptr) LiteRtDestroyModel(model_);
    if (environment_ != nullptr) LiteRtDestroyEnvironment(environment_);
  }

  Floats Ask(const std::string& name, const Floats& given, bool middle) {
    const auto found = functions_.find(name);
    if (found == functions_.end()) throw EdgeError(path_ + " has no '" + name + "'.");
    const Function& function = found->second;
    std::vector<LiteRtTensorBuffer> inputs, outputs;
    size_t used = 0;
    for (const Port& port : function.inputs) {
      const auto own = given.find(port.name);
      used += own != given.end();
      Write(name, port, own == given.end() ? nullptr : &own->second, middle);
      inputs.push_back(port.buffer);
    }
    if (used != given.size()) throw EdgeError("'" + name + "' takes other inputs than it was given.");
    for (const Port& port : function.outputs) outputs.push_back(port.buffer);
    Check(LiteRtRunCompiledModel(compiled_, function.index, inputs.size(), inputs.data(), outputs.size(), outputs.data()),
          "run '" + name + "'");
    EdgeState state;
    Floats floats;
    for (const Port& port : function.outputs) {
      Bytes bytes(port.size);
      void* memory;
      constexpr int kRead = 0;
      Check(LiteRtLockTensorBuffer(port.buffer, &memory, kRead), "read an output");
      std::memcpy(bytes.data(), memory, port.size);
      Check(LiteRtUnlockTensorBuffer(port.buffer), "read an output");
      std::vector<float> values(port.floats ? port.size / sizeof(float) : 0);
      if (!values.empty()) std::memcpy(values.data(), bytes.data(), port.size);
      const bool is_state = port.name.rfind("state_", 0) == 0;
      const bool checked = is_state || port.name == "score" || port.name == "x";
      if (checked && !std::all_of(values.begin(), values.end(), [](float x) { return std::isfinite(x); })) {
        throw EdgeError("'" + name + "' gave numbers that are not finite: the frame lies outside of what the model allows.");
      }
      if (is_state) state.emplace(port.name, std::move(bytes));
      else floats.emplace(port.name, std::move(values));
    }
    state_.swap(state);
    return floats;
  }

  void Write(const std::string& name, const Port& port, const std::vector<float>* given, bool middle) {
    Bytes bytes(port.size);
    const auto state = state_.find(port.name);
    const std::string drawn = DrawnAs(port.name);
    if (given != nullptr && port.floats) {
      if (given->size() * sizeof(float) != port.size) {
        throw EdgeError("'" + name + "' takes " + std::to_string(port.size / sizeof(float)) + " numbers as '" + port.name +
                        "', got " + std::to_string(given->size()) + ".");
      }
      if (!std::all_of(given->begin(), given->end(), [](float x) { return std::isfinite(x); })) {
        throw EdgeError("'" + port.name + "' holds NaN or infinity.");
      }
      std::memcpy(bytes.data(), given->data(), port.size);
    } else if (state != state_.end()) {
      if (state->second.size() != port.size) throw EdgeError("A state of another model has no use for " + path_ + ".");
      bytes = state->second;
    } else if (!drawn.empty()) {
      std::vector<float> noise(port.size / sizeof(float));
      for (float& value : noise) value = Draw(drawn == "normal", middle);
      std::memcpy(bytes.data(), noise.data(), port.size);
    } else if (port.name == "observed") {
      std::fill(bytes.begin(), bytes.end(), 1);
    } else if (port.name != "next_u") {  // without it the prediction is that for inputs of zero
      throw EdgeError("'" + name + "' needs the input '" + port.name + "'.");
    }
    void* memory;
    constexpr int kWrite = 1;
    Check(LiteRtLockTensorBuffer(port.buffer, &memory, kWrite), "write an input");
    std::memcpy(memory, bytes.data(), port.size);
    Check(LiteRtUnlockTensorBuffer(port.buffer), "write an input");
  }

  // "normal" or "uniform" for noise, by the description; empty for all else.
  std::string DrawnAs(const std::string& name) const {
    const size_t at = description_.find("\"name\": \"" + name + "\"");
    if (at == std::string::npos) return "";
    const size_t end = description_.find('}', at), random = description_.find("\"random\": \"", at);
    if (random == std::string::npos || random > end) return "";
    return description_.compare(random + 11, 6, "normal") == 0 ? "normal" : "uniform";
  }

  float Draw(bool normal, bool middle) {
    if (middle) return normal ? 0.0f : 0.5f;
    // Strictly inside of (0, 1), and exact: the logarithms of x and 1 - x are finite.
    return normal ? gaussian_(random_) : (static_cast<float>(random_() >> 41) + 0.5f) * 0x1p-23f;
  }

  const std::string path_;
  const bool sample_;
  std::mt19937_64 random_;
  std::normal_distribution<float> gaussian_;
  const std::string description_;
  Known known_;
  Watch watch_;
  LiteRtEnvironment environment_ = nullptr;
  LiteRtModel model_ = nullptr;
  LiteRtOptions options_ = nullptr;
  LiteRtCompiledModel compiled_ = nullptr;
  std::map<std::string, Function> functions_;
  EdgeState state_;
};

}  // namespace tfdvae

#endif  // TFDVAE_EDGE_STREAM_H_
