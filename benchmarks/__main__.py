"""`make bench`: every benchmark, one after the other."""

from benchmarks import detectors, moondream, near_duplicates, report, resampling, training

for benchmark in (detectors, moondream, resampling, near_duplicates, report, training):
    print(f"\n{benchmark.__doc__}")
    benchmark.main()
