// Scores frames as they come, and draws what may follow, with edge_stream.h: stream_frames.cc for a .tflite file.
//
//   edge_frames FILE LENGTH < frames > scores

#include <cstdlib>
#include <iostream>
#include <sstream>
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
    for (std::string line; std::getline(std::cin, line);) {
      std::istringstream numbers(line);
      std::vector<float> frame;
      for (float x; numbers >> x;) frame.push_back(x);
      std::cout << stream.Push(frame).at("score")[0] << std::endl;
    }
    for (int t = 0; t < std::atoi(argv[2]); ++t) {
      const std::vector<float> x = stream.Generate();
      for (size_t i = 0; i < x.size(); ++i) std::cout << (i ? " " : "") << x[i];
      std::cout << std::endl;
    }
  } catch (const tfdvae::EdgeError& error) {
    std::cerr << error.what() << std::endl;
    return 1;
  }
  return 0;
}
