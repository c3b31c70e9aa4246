// AVX-512 with VNNI, and AMX for many rows: a tile instruction multiplies 16 rows by 64 inputs and 16 outputs at once.
// The sums of a group are whole numbers and join in the order of VNNI's: a row has the same bits on either way.
#define TW_AMX
#include "isa_avx512.cpp"
