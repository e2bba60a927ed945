// Scores frames as they come, and draws what may follow, with edge_stream.h: stream_frames.cc for a .tflite file.
//
//   edge_frames FILE LENGTH < frames > scores
//
// A first line without numbers names the columns, which are compared with the features that the file knows.

#include <cstdlib>
#include <iostream>
#include <iterator>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "edge_stream.h"

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: " << argv[0] << " FILE LENGTH < frames > scores" << std::endl;
    return 2;
  }
  try {
    tfdvae::EdgeStream stream(argv[1]);
    std::cout.precision(9);
    bool first = true;
    for (std::string line; std::getline(std::cin, line); first = false) {
      std::istringstream numbers(line);
      std::vector<float> frame;
      for (float x; numbers >> x;) frame.push_back(x);
      if (first && frame.empty()) {
        std::istringstream words(line);
        stream.known().CheckFeatures({std::istream_iterator<std::string>(words), {}});
        continue;
      }
      std::cout << stream.Push(frame).at("score")[0] << std::endl;
    }
    for (int t = 0; t < std::atoi(argv[2]); ++t) {
      const std::vector<float> x = stream.Generate();
      for (size_t i = 0; i < x.size(); ++i) std::cout << (i ? " " : "") << x[i];
      std::cout << std::endl;
    }
  } catch (const std::runtime_error& error) {
    std::cerr << error.what() << std::endl;
    return 1;
  }
  return 0;
}
