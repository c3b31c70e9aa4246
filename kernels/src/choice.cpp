#include "choice.hpp"

#include <cstdlib>
#include <stdexcept>

#if defined(__linux__) && defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#if defined(TW_HAS_X86)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif

namespace tonewheel {
namespace {

#if defined(TW_HAS_X86)
// AMX: the processor has it (CPUID, leaf 7: tiles, INT8 and BF16, and AVX-512's BF16 beside it), and the system grants a
// process its state, which it must ask for once (Linux, arch_prctl, ARCH_REQ_XCOMP_PERM; XTILEDATA is feature 18).
bool tiles_allowed() {
#if defined(__linux__)
    static const bool allowed = [] {
        unsigned a, b, c, d;
        if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d >> 22 & 1) || !(d >> 24 & 1) || !(d >> 25 & 1)) return false;
        if (!__get_cpuid_count(7, 1, &a, &b, &c, &d) || !(a >> 5 & 1)) return false;
        return syscall(SYS_arch_prctl, 0x1023, 18) == 0;
    }();
    return allowed;
#else
    return false;
#endif
}
#endif

std::vector<const Kernels*> available() {
    std::vector<const Kernels*> found;
#if defined(TW_HAS_X86)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni")) {
        if (tiles_allowed()) found.push_back(amx_kernels());
        found.push_back(avx512_kernels());
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        found.push_back(avx2_kernels());
#elif defined(TW_HAS_NEON)
#if defined(__APPLE__)
    found.push_back(neon_kernels());  // every Apple processor with 64 bits that runs Python 3.11 on macOS
#elif defined(__linux__)
    if (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) found.push_back(neon_kernels());
#endif
#endif
    found.push_back(portable_kernels());
    return found;
}

}  // namespace

std::vector<std::string> available_kernels() {
    std::vector<std::string> names;
    for (const Kernels* k : available()) names.emplace_back(k->name);
    return names;
}

const Kernels* chosen_kernels() {
    const auto found = available();
    const char* wanted = std::getenv("TONEWHEEL_KERNELS_CPU");
    if (!wanted || !*wanted) return found.front();
    std::string names;
    for (const Kernels* k : found) {
        if (std::string(wanted) == k->name) return k;
        names += (names.empty() ? "" : ", ") + std::string(k->name);
    }
    throw std::invalid_argument("TONEWHEEL_KERNELS_CPU is " + std::string(wanted) + "; here there are " + names);
}

}  // namespace tonewheel
