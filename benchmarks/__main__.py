"""`make bench`: every benchmark, one after the other."""

from benchmarks import detectors, moondream, resampling, training

for benchmark in (detectors, moondream, resampling, training):
    print(f"\n{benchmark.__doc__}")
    benchmark.main()
