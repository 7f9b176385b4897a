// What one call of an op is given, and the two ways to run it.
#pragma once

#include <cstdint>

namespace eigenselect {

constexpr int kMaxPlanes = 3;

struct Plane {
  const uint8_t* packed;  // (n, width)
  int64_t width;          // bytes of a row
  int64_t values;         // that a byte stands for
};

// DequantizeGather: byte i of a row picks the columns i * values... of `lut`.
// DequantizeGatherU{bits}: (code * 2**(8 - bits) - *zero_point) * *scale, the bits of a code lying in planes, the most
// significant ones first; value j of byte i belongs to column j * width + i.
// TrellisGather{bits}W{window}: column j is picked from `levels` by the `window` bits that end with bit
// bits * (j + 1) - 1 of the row's ring of bits, the most significant one of a byte first. Codes of several planes have
// `levels` for each, and add up. With `place` column c is what column place[c] was otherwise.
struct Call {
  Plane plane[kMaxPlanes];
  int planes;
  int bits;               // 0: a lookup
  int window;             // of a trellis code; otherwise 0
  const void* lut;        // (256, values), float32 or float16
  const float* levels[kMaxPlanes];  // of trellis codes, (2**window,) for each plane
  const int32_t* place;   // (dim,) columns of one plane of trellis codes, or null for all
  bool half;              // lookup table and output are float16
  const float* scale;
  const uint8_t* zero_point;
  const void* ids;
  bool wide_ids;  // int64 rather than int32
  int64_t count;  // of ids
  int64_t n;      // rows of the table
  int64_t dim;    // columns of the output, at most width * values of any plane unless `place` says which
  void* out;      // (count, dim)
  // What each row is multiplied by, on the CPU alone: numbers in float16, or bytes that pick one of 256; or neither.
  const uint16_t* row_scale;
  const uint8_t* row_code;
  const float* row_level;
};

// Rows first..last-1 of the output, on this thread. `rows` are all the ids, from 0 to n-1.
void decode(const Call& call, const int64_t* rows, int64_t first, int64_t last);

// All rows, on a CUDA stream; every pointer of the call is the device's. Gives the error's text, or null.
// A kernel cannot raise: an id outside of -n..n-1 gives a row of zeros, as in ONNX Runtime's own CUDA Gather.
const char* decode_on_cuda(const Call& call, void* stream);

}  // namespace eigenselect
