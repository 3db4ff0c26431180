"""Readers against trees of real form: every generation of Jetson, Raspberry Pi, x86."""

from __future__ import annotations

import os

import pytest

import device_trees
from runtimes.profile.sensors.clocks import read_clocks
from runtimes.profile.sensors.rapl import counted
from runtimes.profile.sensors.snapshot import Sensors, read_sensors
from runtimes.profile.sensors.throttle import over_run
from runtimes.profile.sensors.tree import Tree

JETSONS = sorted(name for name in device_trees.devices() if not name.startswith(("rpi", "x86")))
# What the trees' own expectations do not say: module, JetPack, mode.
IDENTITY = {
    "nano_jp4": ("Nano", "4.6.1", ("MAXN", 0)),
    "tx1_jp3": ("TX1", "3", None),
    "tx2_jp4": ("TX2", "4.5.1", ("MAXP_CORE_ARM", 3)),
    "agx_xavier_jp4": ("AGX Xavier", "4.4", ("MODE_15W", 2)),
    "xavier_nx_jp4": ("Xavier NX", "4.5.1", ("MODE_15W_6CORE", 2)),
    "agx_orin_jp5": ("AGX Orin", "5.1.2", ("MODE_30W", 2)),
    "orin_nx_jp6": ("Orin NX 16GB", "6.2.1", ("15W", 2)),
    "orin_nano_jp6": ("Orin Nano 8GB developer kit", "6.2", ("25W", 1)),
    "orin_nano_super_throttled_jp6": ("Orin Nano 8GB developer kit", "6.2", ("MAXN_SUPER", 2)),
    "thor_jp7": ("AGX Thor", "7.1", ("MAXN", 0)),
}


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    return {
        name: read_sensors(device_trees.tree_of(tmp_path_factory.mktemp(name), name)) for name in device_trees.devices()
    }


@pytest.mark.parametrize("device", JETSONS)
def test_the_board_its_release_and_its_mode(read, device):
    module, jetpack, mode = IDENTITY[device]
    found = read[device]
    assert found.device.jetson and not found.device.raspberry
    assert (found.device.module, found.device.jetpack) == (module, jetpack)
    assert (found.mode and (found.mode.name, found.mode.number)) == mode


@pytest.mark.parametrize("device", JETSONS)
def test_the_total_is_one_rail_or_there_is_none(read, device):
    power, wanted = read[device].power, device_trees.expected(device)
    if wanted["total_rail"] is None:
        assert power.total_rail is None and power.total_w is None and power.scope is None
        assert list(power.sum_rails) == wanted["sum_rails"] and power.sum_scope == wanted["total_scope"]
        assert power.sum_w == pytest.approx(wanted["total_w"], abs=1e-3)
    else:
        assert power.total_rail == ("VIN" if device == "thor_jp7" else wanted["total_rail"])
        assert power.scope == wanted["total_scope"]
        assert power.total_w == pytest.approx(wanted["total_w"], abs=1e-3)
    for key in ("board_total_w", "module_sum_w"):
        if key in wanted:
            assert power.sum_w == pytest.approx(wanted[key], abs=1e-3)
    everything = sum(rail.watts for rail in power.rails if rail.watts is not None)
    if device != "agx_xavier_jp4":  # where all six rails are disjoint
        assert everything != pytest.approx(power.total_w or power.sum_w)


@pytest.mark.parametrize("device", sorted(device_trees.devices()))
def test_throttling_now_and_what_is_no_throttling(read, device):
    found, wanted = read[device].throttle, device_trees.expected(device)
    if "throttled" in wanted:
        assert found.throttled is wanted["throttled"]
    if device == "orin_nano_super_throttled_jp6":
        assert {"cpu-throttle-alert", "gpu-throttle-alert", "cpufreq-cpu0", "devfreq-17000000.gpu"} <= set(
            found.reasons
        )
        assert found.limits == ("curr1_max_alarm (VDD_IN)",) and found.warnings == ("hot-surface-alert",)
        assert found.counters == {"oc1_event_cnt": 0, "oc2_event_cnt": 2, "oc3_event_cnt": 417}
    assert not any("fan" in reason for reason in found.reasons)


@pytest.mark.parametrize("device", sorted(device_trees.devices()))
def test_temperatures_hold_only_what_is_one(read, device):
    found, wanted = read[device], device_trees.expected(device)
    by_name = {one.name: one for one in found.temperatures}
    for zone in (*wanted.get("ignore_zones", ()), *wanted.get("skip_zones", ())):
        assert by_name[zone].celsius is None and by_name[zone].why
    assert all(one.celsius is None or 20 < one.celsius < 100 for one in found.temperatures)
    if found.temperatures:
        assert found.hottest == max(one.celsius for one in found.temperatures if one.celsius is not None)


def test_zones_that_are_off_have_no_temperature(read):
    named = {one.name: one.celsius for one in read["agx_orin_jp5"].temperatures}
    assert named["GPU-therm"] is None and named["tj-therm"] == 44.343
    assert read["thor_jp7"].hottest == 50.781
    assert {one.name for one in read["thor_jp7"].temperatures} >= {"tmp451 temp1", "soc345-thermal"}


def test_cores_clocks_and_loads(read):
    assert read["orin_nx_jp6"].clocks.cores_on == 4
    throttled = read["orin_nano_super_throttled_jp6"].clocks
    assert throttled.cpus[0].now == 1036.8 and throttled.cpus[0].real == 518.4 and throttled.cpus[0].cut
    assert throttled.gpus[0].now == 612 and throttled.gpus[0].most == 1020 and throttled.gpu_load == 99.2
    assert [clock.name for clock in read["thor_jp7"].clocks.gpus] == ["gpu-gpc-0", "gpu-nvd-0"]
    for device, name, most in (
        ("nano_jp4", "57000000.gpu", 921.6),
        ("tx2_jp4", "17000000.gp10b", 1300.5),
        ("agx_xavier_jp4", "17000000.gv11b", 1377.0),
        ("agx_orin_jp5", "17000000.ga10b", 1300.5),
    ):
        assert [(clock.name, clock.most) for clock in read[device].clocks.gpus] == [(name, most)]
        assert read[device].clocks.governors == ("schedutil",)


def test_jetson_clocks_as_root_and_not(read):
    nano = read["nano_jp4"].jetson_clocks
    assert nano.pinned is False and nano.blocks[0].least == 102 and nano.blocks[-1].name == "EMC"
    assert nano.fields["SOC family"].startswith("tegra210") and nano.fields["NV Power Mode"] == "MAXN"
    thor = read["thor_jp7"].jetson_clocks
    assert thor.pinned is None and thor.why


def test_raspberry_pi_5(read):
    found = read["rpi5"]
    assert found.device.raspberry and found.power.total_rail is None and found.power.total_w is None
    assert found.power.sum_w == pytest.approx(7.24, abs=0.005)
    assert found.power.watts("EXT5V") is None and found.power.watts("VDD_CORE") == pytest.approx(6.22421 * 0.861733)
    assert found.hottest == 61.45 and found.clocks.governors == ("ondemand",)


def test_x86_counters_batteries_and_throttle_counts(read):
    intel = read["x86_intel"]
    assert [rail.name for rail in intel.power.rails][:4] == [
        "package-0", "package-0/core", "package-0/uncore", "package-0/dram",
    ]  # fmt: skip
    assert intel.power.total_rail == "package-0" and intel.power.scope == "processor package"
    assert intel.power.rails[0].joules == 262143.0 and intel.power.rails[0].wraps_at == 262143.32885
    for name, watts in device_trees.expected("x86_intel")["battery_w"].items():
        assert intel.power.watts(name) == pytest.approx(watts, abs=1e-3)
    assert not any("ucsi" in rail.name for rail in intel.power.rails)
    assert intel.throttle.counters["thermal_throttle package 0"] == 41
    assert read["x86_amd"].throttle.throttled is None
    assert [one.name for one in read["x86_amd"].temperatures] == ["k10temp Tctl"]


def test_a_counter_that_wraps():
    files = device_trees.devices()["x86_intel"]
    before, after = (int(files[f"wrap/energy_uj_t{time}.txt"]) / 1e6 for time in (0, 1))
    wanted = device_trees.expected("x86_intel")["wrap_delta_uj"] / 1e6
    assert counted(before, after, 262143.32885) == pytest.approx(wanted)
    assert counted(1.0, 3.5, None) == 2.5
    assert counted(3.5, 1.0, None) is None and counted(3.5, 1.0, 2.0) is None


def test_a_counter_that_only_root_may_read_says_so(tmp_path, monkeypatch):
    tree = device_trees.tree_of(tmp_path, "x86_amd")
    opened = os.open

    def refuse(path, *rest):
        if str(path).endswith("energy_uj"):
            raise PermissionError(13, "Permission denied")
        return opened(path, *rest)

    monkeypatch.setattr(os, "open", refuse)
    power = read_sensors(tree).power
    assert power.total_rail == "package-0" and power.total_w is None
    assert "root" in power.rails[0].why and "root" in power.note


def test_one_battery_is_the_system_only_while_it_discharges(tmp_path):
    at = "sys/class/power_supply"
    files = {
        f"{at}/BAT0/type": "Battery\n", f"{at}/BAT0/status": "Discharging\n", f"{at}/BAT0/voltage_now": "12000000\n",
        f"{at}/BAT0/current_now": "-500000\n", f"{at}/mouse/type": "Battery\n", f"{at}/mouse/scope": "Device\n",
        f"{at}/mouse/status": "Discharging\n", f"{at}/mouse/power_now": "1000\n",
    }  # fmt: skip
    power = read_sensors(device_trees.write(tmp_path, files)).power
    assert (power.total_rail, power.scope, power.total_w) == ("BAT0", "system", 6.0)
    device_trees.write(tmp_path, {f"{at}/BAT0/status": "Charging\n"})
    power = read_sensors(Tree(tmp_path)).power
    assert power.total_w is None and "Charging" in power.rails[0].why


def move(files, old, new):
    return {path.replace(old, new): text for path, text in files.items() if path.startswith(old)}


@pytest.mark.parametrize(
    ("device", "old", "new"),
    [
        ("orin_nano_jp6", "sys/class/hwmon/hwmon1", "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon6"),
        ("orin_nano_jp6", "sys/class/hwmon/hwmon1",
         "sys/devices/platform/bus@0/c240000.i2c/i2c-1/1-0040/hwmon/hwmon1"),
        ("orin_nano_jp6", "sys/class/hwmon/hwmon1", "sys/devices/platform/c240000.i2c/i2c-1/1-0040/hwmon/hwmon3"),
        ("xavier_nx_jp4", "sys/bus/i2c/drivers/ina3221x/7-0040/iio:device0",
         "sys/bus/i2c/drivers/ina3221x/7-0040/iio_device"),
        ("xavier_nx_jp4", "sys/bus/i2c/drivers/ina3221x/7-0040/iio:device0", "sys/bus/iio/devices/iio:device2"),
        ("xavier_nx_jp4", "sys/bus/i2c/drivers/ina3221x/7-0040/iio:device0",
         "sys/devices/c250000.i2c/i2c-7/7-0040/iio:device0"),
    ],
)  # fmt: skip
def test_chips_are_found_wherever_a_release_puts_them(tmp_path, device, old, new):
    files = move(device_trees.devices()[device], old, new)
    assert files
    power = read_sensors(device_trees.write(tmp_path, files)).power
    assert power.total_rail == "VDD_IN" and len(power.rails) == 3
    assert power.total_w == pytest.approx(device_trees.expected(device)["total_w"], abs=1e-3)


def test_one_chip_at_several_places_is_one_chip(tmp_path):
    files = device_trees.devices()["xavier_nx_jp4"]
    place = "sys/bus/i2c/drivers/ina3221x/7-0040/"
    for copy in (f"{place}iio_device", "sys/bus/iio/devices/iio:device0", "sys/bus/i2c/devices/7-0040/iio:device0"):
        files = {**files, **move(files, f"{place}iio:device0", copy)}
    assert len(read_sensors(device_trees.write(tmp_path, files)).power.rails) == 3


def test_thor_without_its_ina238_has_no_total(tmp_path):
    files = device_trees.devices()["thor_jp7"]
    chip = next(path.rpartition("/")[0] for path, text in files.items() if text == "ina238\n")
    power = read_sensors(
        device_trees.write(tmp_path, {path: text for path, text in files.items() if not path.startswith(chip)})
    ).power
    assert power.total_rail is None and power.total_w is None
    assert power.sum_scope == "module" and power.sum_w == pytest.approx(15.555, abs=1e-3)


def test_a_board_without_sensors_says_so(tmp_path):
    files = {"proc/device-tree/compatible": "nvidia,p3448-0003\0nvidia,tegra210\0", "proc/device-tree/model": "Nano\0"}
    found = read_sensors(device_trees.write(tmp_path, files))
    assert found.device.module == "Nano 2GB" and found.power.rails == ()
    assert found.power.total_w is None and found.power.note.startswith("no power sensor")
    assert found.throttle.throttled is None and found.hottest is None and found.mode is None


def test_rails_of_other_makers_have_no_known_total(tmp_path):
    files = {**device_trees.devices()["orin_nano_jp6"], "proc/device-tree/compatible": "acme,board\0acme,soc\0"}
    files.pop("etc/nv_tegra_release")
    power = read_sensors(device_trees.write(tmp_path, files)).power
    assert len(power.rails) == 3 and power.total_rail is None and power.total_w is None and power.sum_w is None


def test_a_rail_that_cannot_be_read_makes_no_sum(tmp_path):
    tree = device_trees.tree_of(tmp_path, "agx_orin_jp5")
    for place in ("sys/class/hwmon/hwmon1", "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1"):
        (tmp_path / place / "curr2_input").write_text("garbage")
    power = read_sensors(tree).power
    assert power.watts("VDD_CPU_CV") is None and power.sum_w is None and power.watts("VDD_GPU_SOC") is not None


def test_tegrastats_is_the_second_source(tmp_path):
    row = next(row for row in device_trees.lines() if row["model"] == "AGX Thor" and "NVENC0" in row["line"])
    files = {"proc/device-tree/compatible": "nvidia,tegra264\0", "cmd/tegrastats.txt": row["line"] + "\n"}
    power = read_sensors(device_trees.write(tmp_path, files)).power
    assert (power.total_rail, power.total_w, power.scope) == ("VIN", 19.78, "module+carrier")
    assert power.sum_w == pytest.approx(1.962 + 5.887 + 5.635)


def test_throttling_over_a_run(tmp_path):
    tree = device_trees.tree_of(tmp_path, "orin_nano_jp6")
    sensors = Sensors(tree)
    chip = next(
        path.rpartition("/")[0]
        for path, text in device_trees.devices()["orin_nano_jp6"].items()
        if text == "soctherm_oc\n" and path.startswith("sys/class")
    )
    states = [sensors.throttle()]
    (tmp_path / chip / "oc3_event_cnt").write_text("9\n")
    states.append(sensors.throttle())
    found = over_run(states)
    assert found.throttled is False and found.limits == ("oc3_event_cnt grew by 9",)
    (tmp_path / chip / "oc1_event_cnt").write_text("2\n")
    states.append(sensors.throttle())
    assert over_run(states).reasons == ("oc1_event_cnt grew by 2",)
    assert over_run([]).throttled is None


def test_raspberry_pi_throttling_by_sticky_bits(tmp_path):
    tree = device_trees.tree_of(tmp_path, "rpi5")
    sensors = Sensors(tree)
    before = sensors.throttle()
    (tmp_path / "cmd/vcgencmd_get_throttled.txt").write_text("throttled=0x20000\n")
    sticky = sensors.throttle()
    assert before.throttled is False and sticky.throttled is False and sticky.since_boot == ("ARM clock capped",)
    assert over_run([before, sticky]).reasons == ("ARM clock capped",)
    assert over_run([sticky, sticky]).throttled is False
    (tmp_path / "cmd/vcgencmd_get_throttled.txt").unlink()
    place = "sys/devices/platform/soc/soc:firmware/get_throttled"
    (tmp_path / place).write_text("50005\n")
    assert sensors.throttle().reasons == ("under-voltage", "throttled")


def test_an_empty_root_is_unknown_everywhere(tmp_path):
    found = read_sensors(Tree(tmp_path))
    assert found.power.rails == () and found.temperatures == () and found.throttle.throttled is None
    assert read_clocks(Tree(tmp_path)).cores_on is None
    assert found.mode is None and found.jetson_clocks is None and found.device.model is None
