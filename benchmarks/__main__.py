"""`make bench`: every benchmark, one after the other."""

from benchmarks import detectors, moondream, report, resampling, training

for benchmark in (detectors, moondream, resampling, report, training):
    print(f"\n{benchmark.__doc__}")
    benchmark.main()
