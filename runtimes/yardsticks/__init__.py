"""What `avgn bench` holds our pipeline against: each a maker of contestants, one row in YARDSTICKS."""

from runtimes.contestant import Yardstick
from runtimes.yardsticks.benchmark_app import benchmark_app
from runtimes.yardsticks.cold_start import cold_start
from runtimes.yardsticks.decoding import decoding
from runtimes.yardsticks.peak import peak
from runtimes.yardsticks.whole_window import whole_window

YARDSTICKS: dict[str, Yardstick] = {
    "whole window": whole_window,
    "benchmark_app": benchmark_app,
    "ffmpeg": decoding,
    "peak": peak,
    "cold start": cold_start,
}
