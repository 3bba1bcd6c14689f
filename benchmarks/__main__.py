"""`make bench`: every benchmark, one after the other."""

from benchmarks import detectors, moondream, resampling

for benchmark in (detectors, moondream, resampling):
    print(f"\n{benchmark.__doc__}")
    benchmark.main()
