// What an exported model says of the data that it was trained on, and the check of frames against it: what
// `export/edge/known.py` is in Python. Needs the standard library alone; saved_model.h and edge_stream.h include it.
//
//   tfdvae::Known known = model.known();               // of a SavedModel or an EdgeStream
//   known.CheckFeatures({"flow", "pressure"});         // std::runtime_error for other columns, or another order
//   known.CheckUnits({"l/s", "kPa"});                  // one for all features, or one for each
//   known.CheckPeriod(0.5);                            // in known.time_unit, "s" as a rule
//   known.CheckRate(16000.0);
//   std::vector<float> x = known.Scaled(measured);     // as the frames of training were scaled

#ifndef TFDVAE_KNOWN_H_
#define TFDVAE_KNOWN_H_

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdlib>
#include <iostream>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace tfdvae {

// As much of JSON as a description is made of.
struct JsonValue {
  std::string text;  // of a string, or a number, true, false and null as they were written
  std::vector<JsonValue> items;
  std::map<std::string, JsonValue> members;

  const JsonValue& at(const std::string& name) const {
    static const JsonValue nothing;
    const auto found = members.find(name);
    return found == members.end() ? nothing : found->second;
  }
  std::vector<std::string> Texts() const {
    std::vector<std::string> found;
    for (const JsonValue& one : items) found.push_back(one.text);
    return found;
  }
  // A number or a list of them; empty for none.
  std::vector<float> Numbers() const {
    if (items.empty()) return text.empty() || text == "null" ? std::vector<float>() : std::vector<float>{Number()};
    std::vector<float> found;
    for (const JsonValue& one : items) {
      for (const float x : one.Numbers()) found.push_back(x);
    }
    return found;
  }
  float Number() const { return std::strtof(text.c_str(), nullptr); }
};

class JsonReader {
 public:
  static JsonValue Read(const std::string& text) { return JsonReader(text).Value(0); }

 private:
  explicit JsonReader(const std::string& text) : text_(text) {}

  char Next() {
    while (at_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[at_]))) ++at_;
    if (at_ >= text_.size()) throw std::runtime_error("The description of a model ends too early.");
    return text_[at_];
  }

  bool Take(char wanted) {
    const bool there = Next() == wanted;
    at_ += there;
    return there;
  }

  JsonValue Value(int depth) {
    if (depth > 64) throw std::runtime_error("The description of a model is nested too deeply.");
    JsonValue found;
    if (Take('{')) {
      while (!Take('}')) {
        const std::string name = String();
        if (!Take(':')) throw std::runtime_error("The description of a model is no JSON.");
        found.members[name] = Value(depth + 1);
        Take(',');
      }
    } else if (Take('[')) {
      while (!Take(']')) {
        found.items.push_back(Value(depth + 1));
        Take(',');
      }
    } else if (Next() == '"') {
      found.text = String();
    } else {
      const size_t end = std::min(text_.find_first_of(",]} \t\r\n", at_), text_.size());
      if (end == at_) throw std::runtime_error("The description of a model is no JSON.");
      found.text = text_.substr(at_, end - at_);
      at_ = end;
    }
    return found;
  }

  std::string String() {
    if (!Take('"')) throw std::runtime_error("The description of a model is no JSON.");
    std::string found;
    while (at_ < text_.size() && text_[at_] != '"') {
      if (text_[at_] == '\\' && at_ + 1 < text_.size()) {
        found += Escaped();
      } else {
        found += text_[at_++];
      }
    }
    if (at_++ >= text_.size()) throw std::runtime_error("The description of a model ends too early.");
    return found;
  }

  // One character behind a backslash, in UTF-8; halves of surrogate pairs stay apart, and differ as names do.
  std::string Escaped() {
    const char kind = text_[at_ + 1];
    at_ += 2;
    if (kind != 'u') {
      const std::string from = "bfnrt", to = "\b\f\n\r\t";
      const size_t place = from.find(kind);
      return std::string(1, place == std::string::npos ? kind : to[place]);
    }
    const long code = std::strtol(text_.substr(at_, 4).c_str(), nullptr, 16);
    at_ += 4;
    std::string found;
    if (code < 0x80) return std::string(1, static_cast<char>(code));
    if (code >= 0x800) found += static_cast<char>(0xE0 | (code >> 12));
    found += static_cast<char>(code < 0x800 ? 0xC0 | (code >> 6) : 0x80 | ((code >> 6) & 0x3F));
    return found + static_cast<char>(0x80 | (code & 0x3F));
  }

  const std::string& text_;
  size_t at_ = 0;
};

// Whatever is empty or 0 is not known.
struct Known {
  std::string model;
  std::vector<std::string> features, units, inputs;  // names of the columns of frames and inputs
  double period = 0.0, rate = 0.0;                   // from frame to frame; samples per second
  std::string time_unit = "s", origin;
  std::vector<float> shift, scale;           // one number for all features, or one for each
  std::vector<float> low, high, deviation;   // of the training data

  Known() = default;

  // From signatures.json.
  explicit Known(const std::string& description) {
    const JsonValue all = JsonReader::Read(description);
    const JsonValue &data = all.at("data"), &statistics = all.at("statistics");
    model = all.at("model").text;
    features = data.at("features").Texts(), units = data.at("units").Texts(), inputs = data.at("inputs").Texts();
    period = data.at("frame_period").Number(), rate = data.at("sampling_rate").Number();
    if (!data.at("time_unit").text.empty()) time_unit = data.at("time_unit").text;
    origin = data.at("origin").text;
    shift = data.at("shift").Numbers(), scale = data.at("scale").Numbers();
    low = statistics.at("low").Numbers(), high = statistics.at("high").Numbers();
    deviation = statistics.at("deviation").Numbers();
  }

  void CheckFeatures(const std::vector<std::string>& found) const { CheckNames("features", found, features); }
  void CheckUnits(const std::vector<std::string>& found) const {
    const size_t count = std::max(found.size(), units.size());
    if (Each(found, count) != Each(units, count)) CheckNames("units", found, units);
  }
  void CheckInputs(const std::vector<std::string>& found) const { CheckNames("inputs", found, inputs); }
  void CheckPeriod(double found) const { CheckNumber("period", found, period, " " + time_unit); }
  void CheckRate(double found) const { CheckNumber("sampling rate", found, rate, ""); }

  // (x - shift) / scale, as the frames of training were made; x itself where nothing is known.
  std::vector<float> Scaled(std::vector<float> x) const {
    for (size_t i = 0; i < x.size(); ++i) {
      if (!shift.empty()) x[i] -= shift[i % shift.size()];
      if (!scale.empty()) x[i] /= scale[i % scale.size()];
    }
    return x;
  }

 private:
  static std::string Joined(const std::vector<std::string>& names) {
    std::string text;
    for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
    return text;
  }

  // One name for all, as one for each.
  static std::vector<std::string> Each(const std::vector<std::string>& names, size_t count) {
    return names.size() == 1 ? std::vector<std::string>(count, names[0]) : names;
  }

  static void CheckNames(const std::string& what, std::vector<std::string> found, std::vector<std::string> there) {
    if (there.empty() || found == there) return;
    const std::string text = "The " + what + " are " + Joined(found) + ", and those of the model " + Joined(there);
    std::sort(found.begin(), found.end());
    std::sort(there.begin(), there.end());
    throw std::runtime_error(text + (found == there ? ", in another order." : "."));
  }

  static void CheckNumber(const std::string& what, double found, double there, const std::string& unit) {
    if (there == 0.0 || std::abs(found / there - 1.0) <= 0.01) return;
    std::ostringstream text;
    text << "The " << what << " of the frames is " << found << unit << ", and " << there << unit
         << " in training: resample them.";
    throw std::runtime_error(text.str());
  }
};

// Tells, once, of frames that can hardly be in the units of the training data: a value further outside of their range
// than this is wide, or a hundred frames that all but stand still beside them.
class Watch {
 public:
  Watch() = default;
  explicit Watch(Known known) : known_(std::move(known)) {}

  // The warning, or an empty string.
  std::string operator()(const float* x, size_t features) {
    if (warned_ || known_.low.empty() || known_.high.empty()) return "";
    for (size_t i = 0; i < features; ++i) {
      const float low = At(known_.low, i), high = At(known_.high, i), width = high - low;
      if (width > 0.0f && (x[i] < low - width || x[i] > high + width)) {
        std::ostringstream text;
        text << (i < known_.features.size() ? known_.features[i] : "feature " + std::to_string(i)) << " is " << x[i]
             << ", and was between " << low << " and " << high << " in training";
        return Warn(text.str());
      }
    }
    constexpr int kFrames = 100;
    if (frames_ >= kFrames || known_.deviation.empty()) return "";
    if (frames_++ == 0) below_.assign(x, x + features), above_ = below_;
    bool moves = false, still = true;
    for (size_t i = 0; i < features; ++i) {
      below_[i] = std::min(below_[i], x[i]), above_[i] = std::max(above_[i], x[i]);
      const float usual = At(known_.deviation, i);
      moves |= usual > 0.0f;
      still &= !(usual > 0.0f) || above_[i] - below_[i] < 0.01f * usual;
    }
    if (frames_ < kFrames || !moves || !still) return "";
    return Warn(std::to_string(kFrames) + " frames changed by less than a hundredth of what is usual");
  }

 private:
  static float At(const std::vector<float>& values, size_t i) { return values[i % values.size()]; }

  std::string Warn(const std::string& what) {
    warned_ = true;
    return what + ": are frames for " + known_.model + " in the units, the order and the scale of its training data? " +
           "Scores and forecasts of others mean nothing.";
  }

  Known known_;
  std::vector<float> below_, above_;
  int frames_ = 0;
  bool warned_ = false;
};

}  // namespace tfdvae

#endif  // TFDVAE_KNOWN_H_
