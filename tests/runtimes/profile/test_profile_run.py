"""The course of a run, its verdict and its energy, on a simulated device."""

from __future__ import annotations

import pytest

import device_trees
from avgn.errors import UsageError
from runtimes.profile.assemble import Seen, assemble
from runtimes.profile.energy import drawn, phase_energy
from runtimes.profile.report import Subject
from runtimes.profile.run import BACK_TO_BACK, CADENCE, IDLE, KEPT_WARM, Plan
from runtimes.profile.samples import sample_lines
from runtimes.profile.sensors.power import Power
from runtimes.profile.sensors.rails import Rail
from runtimes.profile.sensors.snapshot import settings_of
from runtimes.profile.watch import Reading
from simulated import Simulation, run

SUBJECT = Subject("tiny", "0" * 64, "openvino", "fp32", 1, "a.mp4", 2)
ORIN = "sys/class/hwmon/hwmon1"


def profiled(tree, simulation=None, plan=None, rail=None):
    simulation, plan = simulation or Simulation(), plan or Plan(duration=60)
    course, watch, first, last = run(simulation, plan, tree)
    seen = Seen(watch.readings, first, settings_of(last), rail, simulated=True)
    return assemble(course, plan, seen, SUBJECT, 123.0), course


@pytest.fixture
def orin(tmp_path):
    return device_trees.tree_of(tmp_path, "orin_nano_jp6")


def test_a_quiet_run_is_valid(orin):
    report, course = profiled(orin, Simulation(), Plan(duration=60, keep_warm=True))
    assert report.verdict.valid and str(report.verdict) == "VALID"
    back, cadence, warm = (report.phase(name) for name in (BACK_TO_BACK, CADENCE, KEPT_WARM))
    assert back.seconds == pytest.approx(15.6, abs=0.1) and back.decisions == pytest.approx(1560, abs=2)
    assert cadence.seconds == pytest.approx(33.6, abs=0.1) and cadence.decisions == 68
    assert back.total.p50 == pytest.approx(10) and back.steps["glance"].p50 == pytest.approx(5)
    assert back.focus_calls == back.steps["focus"].count == pytest.approx(back.decisions / 2, abs=1)
    assert back.focus_free == back.decisions - back.focus_calls
    assert warm.warm_calls > 7 * warm.decisions and cadence.warm_calls == 0
    assert report.graphs["glance"].p50 == pytest.approx(5) and report.graphs["focus"].p50 == pytest.approx(2)
    assert report.cold.load_ms == 123 and report.cold.first_ms == 10 and report.cold.warm_up == len(course.warm_up)
    assert back.cpu_ms == pytest.approx(20)
    assert cadence.late_ms.max < 1 and back.late_ms is None


def test_the_first_call_and_the_warm_up_count_nowhere(orin):
    simulation = Simulation(ms=lambda now, pause: 10.0 if now > 100.9 else 500.0)
    report, course = profiled(orin, simulation)
    assert report.cold.first_ms == 500 and max(one.decided.total_ms for one in course.warm_up) == 500
    assert report.phase(BACK_TO_BACK).total.max == 10 and report.phase(CADENCE).total.max == 10


def test_a_pause_that_slows_the_next_call_is_seen_and_what_keeping_warm_gives(orin):
    simulation = Simulation(ms=lambda now, pause: 30.0 if pause > 0.1 else 10.0)
    report, _ = profiled(orin, simulation, Plan(duration=60, keep_warm=True))
    medians = [report.phase(name).total.p50 for name in (BACK_TO_BACK, CADENCE, KEPT_WARM)]
    assert medians == pytest.approx([10, 30, 10])


def test_throttling_in_the_middle_makes_it_invalid_and_says_why(orin):
    alert = next(orin.root.glob("sys/class/thermal/cooling_device*/type")).parent
    (alert / "type").write_text("gpu-throttle-alert\n")

    def state(value):
        return lambda: (alert / "cur_state").write_text(value)

    report, _ = profiled(orin, Simulation(events=[(120.0, state("1\n")), (121.0, state("0\n"))]))
    assert not report.verdict.valid and "throttled: gpu-throttle-alert" in str(report.verdict)
    assert report.throttle["reasons"] == ("gpu-throttle-alert",)


def test_a_device_that_throttles_all_the_time(tmp_path):
    tree = device_trees.tree_of(tmp_path, "orin_nano_super_throttled_jp6")
    report, _ = profiled(tree)
    assert str(report.verdict).startswith("INVALID: throttled: cpufreq-cpu0")
    assert "ran below the clock asked for" in str(report.verdict)


def test_over_current_that_is_normal_and_that_is_not(orin):
    chip = next(path.parent for path in orin.root.glob("sys/class/hwmon/*/oc1_event_cnt"))

    def grow(name):
        return lambda: (chip / name).write_text("7\n")

    report, _ = profiled(orin, Simulation(events=[(130.0, grow("oc3_event_cnt"))]))
    assert report.verdict.valid and report.throttle["limits"] == ("oc3_event_cnt grew by 7",)
    report, _ = profiled(orin, Simulation(events=[(130.0, grow("oc2_event_cnt"))]))
    assert "oc2_event_cnt grew by 7" in str(report.verdict)


def test_a_power_mode_that_changes(orin):
    change = lambda: (orin.root / "cmd/nvpmodel_q.txt").write_text("NV Power Mode: MAXN_SUPER\n2\n")  # noqa: E731
    report, _ = profiled(orin, Simulation(events=[(130.0, change)]))
    assert "power mode 25W (1) -> MAXN_SUPER (2)" in str(report.verdict)


def test_too_short_too_few_too_slow_and_too_uneven(orin):
    report, _ = profiled(orin, plan=Plan(duration=5))
    assert "back to back: 1.3 s of at least 10 s" in str(report.verdict)
    assert "cadence: 6 decisions of at least 64" in str(report.verdict)
    report, _ = profiled(orin, Simulation(ms=lambda now, pause: 700.0), Plan(duration=120, cadence=2))
    assert "the rate was not held" in str(report.verdict) and report.phase(CADENCE).missed > 20
    drifting = Simulation(ms=lambda now, pause: 10.0 + (now - 100) / 2)
    report, _ = profiled(orin, drifting)
    assert "medians over time lie" in str(report.verdict)


def test_what_cannot_be_known_is_unknown_not_passed(tmp_path):
    report, _ = profiled(device_trees.write(tmp_path, {"empty": ""}))
    checks = {check.name: check.passed for check in report.verdict.checks}
    assert checks["throttling"] is None and checks["clocks"] is None and checks["power mode"] is None
    assert report.verdict.valid and report.energy.rail is None and report.energy.note.startswith("unknown")
    assert report.phase(CADENCE).energy is None


def test_energy_is_that_of_the_total_rail_above_idle(orin):
    """1 W more while decisions are made: 10 ms of it back to back, all the time."""

    def draw(milliamps):
        return lambda: (orin.root / ORIN / "curr1_input").write_text(f"{milliamps}\n")

    (orin.root / ORIN / "in1_input").write_text("5000\n")
    draw(1000)()
    # cold and warm-up take 1.3 s, a rest 0.5 s, idle 4.8 s, graphs 6 s, warm-up 1.2 s
    report, course = profiled(orin, Simulation(events=[(109.0, draw(1200))]))
    idle, back = course.phases[IDLE], course.phases[BACK_TO_BACK]
    assert idle.end < 109 < back.begin
    found = report.phase(BACK_TO_BACK).energy
    assert found.rail == "VDD_IN" and report.energy.scope == "module"
    assert found.idle_watts == pytest.approx(5.0) and found.watts == pytest.approx(6.0)
    assert found.net_mj == pytest.approx(10.0, rel=0.01) and found.gross_mj == pytest.approx(60.0, rel=0.01)


def test_where_no_rail_is_the_total_no_energy_is_told(tmp_path):
    report, _ = profiled(device_trees.tree_of(tmp_path, "agx_orin_jp5"))
    assert report.energy.rail is None and report.phase(BACK_TO_BACK).energy is None
    assert "no rail of AGX Orin is the total" in report.energy.note and "must not be added" in report.energy.note
    assert set(report.energy.rails) == {"VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0", "VDDQ_VDD2_1V8AO"}
    named, _ = profiled(device_trees.tree_of(tmp_path, "agx_orin_jp5"), rail="VDD_GPU_SOC")
    assert named.phase(BACK_TO_BACK).energy.rail == "VDD_GPU_SOC" and named.energy.scope == "this rail alone"


def reading(at, **rail):
    power = Power((Rail("package-0", "rapl", **rail),), "package-0", "processor package", (), None, "")
    return Reading(at, power, None, None, None, None, ())


def test_counters_wrap_once_and_gaps_are_no_energy():
    readings = [reading(at, joules=joules, wraps_at=100.0) for at, joules in ((0, 90.0), (1, 96.0), (2, 2.0))]
    found = drawn(readings, "package-0")
    assert found.joules == pytest.approx(12) and found.watts == pytest.approx(6)
    assert drawn([*readings, reading(3)], "package-0") is None
    many = [reading(at, watts=2.0) for at in range(20)]
    many[7] = reading(7)  # one that failed, in between
    assert drawn(many, "package-0").joules == pytest.approx(38)
    assert drawn(readings[:2], "package-0") is None and drawn(readings, "psys") is None
    assert drawn([reading(at, joules=10.0 - at) for at in range(3)], "package-0") is None
    triangle = [reading(at, watts=watts) for at, watts in ((0, 0.0), (1, 4.0), (3, 0.0))]
    assert drawn(triangle, "package-0").joules == pytest.approx(6)
    assert phase_energy("package-0", None, None, 5) is None
    assert phase_energy("package-0", found, None, 0.5).gross_mj == pytest.approx(3000)
    assert phase_energy("package-0", found, None, 4).net_mj is None


def test_other_programs_are_told_of(orin):
    def stat(busy):
        return lambda: (orin.root / "proc/stat").write_text(f"cpu  {busy} 0 0 9 0 0 0 50 0 0\ncpu0 1\n")

    stat(0)()
    simulation = Simulation(events=[(115.0, stat(9000))])  # 90 s of work in 16 s
    course, watch, first, last = run(simulation, Plan(), orin)
    seen = Seen(watch.readings, first, settings_of(last))
    notes = " ".join(assemble(course, Plan(), seen, SUBJECT, 1.0).notes)
    assert "other programs kept" in notes and "hypervisor" not in notes


def test_raw_samples_are_all_there(orin):
    report, course = profiled(orin)
    import json

    rows = [json.loads(line) for line in sample_lines(course)]
    phases = [row["phase"] for row in rows]
    assert phases[0] == "cold" and phases.count("warm-up") == report.cold.warm_up
    assert phases.count(CADENCE) == report.phase(CADENCE).decisions
    assert phases.count("bare graphs") == sum(one.count for one in report.graphs.values())
    back = [row["total_ms"] for row in rows if row["phase"] == BACK_TO_BACK]
    assert sorted(back)[int(len(back) * 0.9)] == pytest.approx(report.phase(BACK_TO_BACK).total.p90)


@pytest.mark.parametrize("plan", [{"duration": 0}, {"duration": float("nan")}, {"cadence": 0}, {"cadence": 1e9}])
def test_plans_that_make_no_sense(plan):
    with pytest.raises(UsageError):
        Plan(**plan)
