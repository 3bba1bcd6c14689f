"""`make bench`: every benchmark, one after the other."""

from benchmarks import detectors, resampling

for benchmark in (detectors, resampling):
    print(f"\n{benchmark.__doc__}")
    benchmark.main()
