// Scores frames as they come, and draws what may follow, with saved_model.h.
//
//   stream_frames FOLDER LENGTH < frames > scores
//
// FOLDER is a SavedModel of `model.export`, or a folder of versions. Each line of input is a frame, its numbers apart by
// blanks; each gets a line with its score in nats. Then come LENGTH frames that the model draws. A first line without
// numbers names the columns, which are compared with the features that the model knows.

#include <cstdlib>
#include <iostream>
#include <iterator>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "saved_model.h"

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: " << argv[0] << " FOLDER LENGTH < frames > scores" << std::endl;
    return 2;
  }
  try {
    const tfdvae::SavedModel model(argv[1]);
    tfdvae::Stream stream(model);
    std::cout.precision(9);
    bool first = true;
    for (std::string line; std::getline(std::cin, line); first = false) {
      std::istringstream numbers(line);
      std::vector<float> frame;
      for (float x; numbers >> x;) frame.push_back(x);
      if (first && frame.empty()) {
        std::istringstream words(line);
        model.known().CheckFeatures({std::istream_iterator<std::string>(words), {}});
        continue;
      }
      const auto out = stream.Push(tfdvae::Array({1, static_cast<int64_t>(frame.size())}, frame));
      std::cout << out.at("score").flat<float>()(0) << std::endl;
    }
    for (int t = 0; t < std::atoi(argv[2]); ++t) {
      const tfdvae::Tensor x = stream.Generate();
      for (int i = 0; i < x.NumElements(); ++i) std::cout << (i ? " " : "") << x.flat<float>()(i);
      std::cout << std::endl;
    }
  } catch (const std::runtime_error& error) {
    std::cerr << error.what() << std::endl;
    return 1;
  }
  return 0;
}
