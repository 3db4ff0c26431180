"""Event rules: what they accept, when they fire, and that no child blocks or is left behind."""

from __future__ import annotations

import sys
import time
from types import SimpleNamespace

import pytest

from avgn.errors import UsageError
from runtimes.live.rules import Rule, Rules, parse_rule

LABELS = ("dog", "dog: big", "siren")


def feed(rules, scores, label="dog", start=0.0):
    for number, score in enumerate(scores):
        rules(SimpleNamespace(time=start + number * 0.5, scores={label: score}))


def test_a_rule_is_read():
    rule = parse_rule("dog:0.8:echo 'two words' $HOME;ls", LABELS)
    assert rule == Rule("dog", 0.8, ("echo", "two words", "$HOME;ls"))
    assert parse_rule("dog: big:1:true", LABELS).label == "dog: big"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("cat:0.8:true", "not a label"),
        ("dog", "not a label"),
        ("dog:much:true", "LABEL:0.8:COMMAND"),
        ("dog:0:true", "0..1"),
        ("dog:1.1:true", "0..1"),
        ("dog:nan:true", "0..1"),
        ("dog:0.5:", "no command"),
        ("dog:0.5:no-such-command-here", "not there"),
        ("dog:0.5:echo 'open", "LABEL:0.8:COMMAND"),
    ],
)
def test_a_rule_that_makes_no_sense(text, says):
    with pytest.raises(UsageError, match=says):
        parse_rule(text, LABELS)


def test_it_fires_once_an_event():
    rules = Rules([parse_rule("dog:0.8:true", LABELS)])
    feed(rules, [0.9, 0.1, 0.9, 0.1])  # never twice in a row
    assert rules.fired == 0
    feed(rules, [0.9] * 10, start=2.0)
    assert rules.fired == 1
    feed(rules, [0.1, 0.9, 0.9], start=7.0)  # a flicker is the same event
    assert rules.fired == 1
    feed(rules, [0.1] * 6, start=9.0)
    wait_for_children(rules)
    feed(rules, [0.8, 0.8], start=13.0)
    assert rules.fired == 2 and rules.held_back == 0


def wait_for_children(rules):
    deadline = time.monotonic() + 20
    while rules.running and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not rules.running


def test_the_command_gets_the_facts_and_no_shell(tmp_path):
    out = tmp_path / "out.txt"
    code = "import os,sys;open(sys.argv[1],'w').write(' '.join([os.environ['AVGN_LABEL'],os.environ['AVGN_SCORE'],"
    code += "os.environ['AVGN_TIME'],sys.argv[2]]))"
    rules = Rules([Rule("dog", 0.8, (sys.executable, "-c", code, str(out), "$HOME"))])
    feed(rules, [0.9, 0.95])
    wait_for_children(rules)
    assert out.read_text() == "dog 0.9500 0.500 $HOME"


def test_a_slow_command_blocks_nothing_and_is_not_run_twice():
    rules = Rules([Rule("dog", 0.5, (sys.executable, "-c", "import time;time.sleep(60)"))])
    feed(rules, [0.9, 0.9, *[0.1] * 6, 0.9, 0.9])
    assert (rules.fired, rules.held_back, rules.running) == (1, 1, 1)
    rules._watched[0].child.kill()
    wait_for_children(rules)


def test_a_command_that_vanished_is_no_fault(tmp_path):
    rules = Rules([Rule("dog", 0.5, (str(tmp_path / "gone"),))])
    feed(rules, [0.9, 0.9])
    assert (rules.fired, rules.held_back) == (0, 1)
