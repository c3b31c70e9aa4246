#!/bin/sh
# The tests of the kernels under the address and undefined-behaviour sanitizers, and tests/compare.cpp under them and
# under the thread sanitizer. Installs nothing: everything is built in kernels/build/.
# PYTHON: one that has Tonewheel's test tools.
set -eu
python=$(command -v "${PYTHON:-python3}") || { echo "there is no ${PYTHON:-python3}" >&2; exit 1; }
case $python in /*) ;; *) python=$PWD/$python ;; esac
cd "$(dirname "$0")"
cxx=${CXX:-c++}
site=$PWD/build/sanitized

# compare "the sanitizers" folder flags
compare() {
    cmake -S . -B "build/$2" -DTW_COMPARE=ON -DCMAKE_CXX_COMPILER="$cxx" -DCMAKE_CXX_FLAGS="-g $3" \
        -DCMAKE_BUILD_TYPE=RelWithDebInfo > /dev/null
    cmake --build "build/$2" -j 2 > /dev/null
    echo "compare, $1:"
    "build/$2/compare"
}
compare "addresses and undefined behaviour" compare-address \
    "-fsanitize=address,undefined,float-cast-overflow -fno-sanitize-recover=undefined,float-cast-overflow"
compare "threads" compare-thread "-fsanitize=thread"

rm -rf "$site"
"$python" -m pip install --quiet --disable-pip-version-check --no-deps --target "$site" \
    -C cmake.build-type=RelWithDebInfo -C cmake.define.TW_SANITIZE=ON -C build-dir=build/sanitized-objects .
# The interpreter is not built with the sanitizers: theirs must be there before anything else, and its leaks are its own.
export PYTHONPATH="$site" ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 OMP_NUM_THREADS=1
export LD_PRELOAD="$("$cxx" -print-file-name=libasan.so) $("$cxx" -print-file-name=libstdc++.so)"
cd ..
"$python" -c "import tonewheel_kernels as k; assert k.__file__.startswith('$site'), k.__file__"
exec "$python" -m pytest -q -p no:cacheprovider tests/engine/test_kernels.py \
    tests/engine/test_kernels_stack.py tests/engine/test_drawing.py
