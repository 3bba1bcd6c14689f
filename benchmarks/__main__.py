"""`make bench`: every benchmark, one after the other."""

from benchmarks import detectors, manifest, moondream, near_duplicates, packing, report, resampling, training

for benchmark in (detectors, moondream, resampling, manifest, near_duplicates, packing, report, training):
    print(f"\n{benchmark.__doc__}")
    benchmark.main()
