#!/usr/bin/env python3
"""Builds the presets and runs every test suite; called by test.sh.

Prints one table: step, seconds, passed, failed, skipped. Exits with 1 when a
step fails, a suite runs no test, or the whole takes longer than the limit.
"""
import argparse
import contextlib
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree

ROOT = pathlib.Path(__file__).resolve().parent.parent
REPORTS = ROOT / "build" / "reports"
TIME_LIMIT = 55 * 60
WORKERS = os.cpu_count() or 2


class Step:
    """One row of the table."""

    def __init__(self, name, command, report=None, env=None):
        self.name, self.command, self.env = name, list(map(str, command)), env or {}
        self.report = REPORTS / report if report else None
        self.seconds = 0.0
        self.counts = None
        self.ok = False

    def run(self):
        print(f"\n== {self.name}: {' '.join(self.command)}", file=sys.stderr, flush=True)
        if self.report:
            self.report.unlink(missing_ok=True)
        begin = time.monotonic()
        self.ok = self.execute()
        self.seconds = time.monotonic() - begin
        if self.report:
            self.counts = self.count()
            # A suite that ran nothing has not passed.
            self.ok = self.ok and self.counts is not None and self.counts[0] > 0 and self.counts[1] == 0

    def execute(self):
        return subprocess.call(self.command, cwd=ROOT, env={**os.environ, **self.env}) == 0

    def count(self):
        return count_tests(self.report)


class UnitStep(Step):
    """A GoogleTest binary, its tests dealt out to one process a processor."""

    def shard_report(self, shard):
        return self.report.with_suffix(f".{shard}.xml")

    def execute(self):
        def start(shard, log):
            report = self.shard_report(shard)
            report.unlink(missing_ok=True)
            share = {"GTEST_TOTAL_SHARDS": str(WORKERS), "GTEST_SHARD_INDEX": str(shard)}
            command = [*self.command, f"--gtest_output=xml:{report}"]
            return subprocess.Popen(command, cwd=ROOT, env={**os.environ, **self.env, **share}, stdout=log, stderr=log)

        with contextlib.ExitStack() as stack:
            logs = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(WORKERS)]
            shards = [stack.enter_context(start(shard, log)) for shard, log in enumerate(logs)]
            codes = [shard.wait() for shard in shards]
            for code, log in zip(codes, logs):
                if code:
                    log.seek(0)
                    sys.stderr.write(log.read().decode(errors="replace"))
        return not any(codes)

    def count(self):
        counts = [count_tests(self.shard_report(shard)) for shard in range(WORKERS)]
        return None if None in counts else tuple(map(sum, zip(*counts)))


def count_tests(path):
    """(passed, failed, skipped) of a JUnit file, or None if there is none."""
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError):
        return None
    passed = failed = skipped = 0
    for case in root.iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            failed += 1
        elif case.find("skipped") is not None or case.get("status") == "notrun":
            skipped += 1
        else:
            passed += 1
    return passed, failed, skipped


def steps():
    jobs = ["-j", WORKERS]
    python = sys.executable
    sanitize = {
        "ASAN_OPTIONS": "detect_leaks=0:allow_user_poisoning=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }
    for preset in ("dev", "asan", "release"):
        yield Step(f"configure-{preset}", ["cmake", "--preset", preset])
        yield Step(f"build-{preset}", ["cmake", "--build", "--preset", preset, *jobs])
    for preset, env in (("dev", {}), ("asan", sanitize)):
        build = ROOT / "build" / preset
        yield UnitStep(f"unit-{preset}", [build / "bin" / "ffn-unit-tests"], f"unit-{preset}.xml", env)
        report = f"lit-{preset}.xml"
        yield Step(
            f"lit-{preset}",
            [pathlib.Path(python).parent / "lit", "-q", "--xunit-xml-output", REPORTS / report, build / "test"],
            report,
            env,
        )
    report = "unit-tsan.xml"
    tsan = ROOT / "build" / "dev" / "bin" / "ffn-runtime-tsan"
    yield Step("unit-tsan", [tsan, f"--gtest_output=xml:{REPORTS / report}"], report)
    suites = [folder for folder in ("python", "Conformance", "Numerics", "E2E") if (ROOT / "test" / folder).is_dir()]
    for suite in suites:
        report = f"pytest-{suite}.xml"
        yield Step(
            f"pytest-{suite}",
            # A file's tests share what its fixtures compile.
            [python, "-m", "pytest", "-q", "-ra", "-n", WORKERS, "--dist=loadfile", f"--junitxml={REPORTS / report}", ROOT / "test" / suite],
            report,
            {"FFN_BUILD_DIR": str(ROOT / "build" / "release")},
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--started", type=float, default=time.time(), help="start of the whole command, for the limit")
    parser.add_argument("--only", default="", help="comma-separated prefixes of step names")
    arguments = parser.parse_args()
    REPORTS.mkdir(parents=True, exist_ok=True)
    chosen = [prefix for prefix in arguments.only.split(",") if prefix]
    done = []
    for step in steps():
        if chosen and not any(step.name.startswith(prefix) for prefix in chosen):
            continue
        step.run()
        done.append(step)
        # Tests of a build that does not exist say nothing.
        if not step.ok and step.name.startswith(("configure", "build")):
            break
    print(f"\n{'step':24} {'seconds':>8} {'passed':>7} {'failed':>7} {'skipped':>8}")
    total = [0, 0, 0]
    for step in done:
        counts = step.counts or ("", "", "")
        if step.counts:
            total = [a + b for a, b in zip(total, step.counts)]
        elif step.report:
            counts = ("none", "", "")
        print(f"{step.name:24} {step.seconds:8.1f} {counts[0]:>7} {counts[1]:>7} {counts[2]:>8}  {'' if step.ok else 'FAILED'}")
    elapsed = time.time() - arguments.started
    failures = [step.name for step in done if not step.ok]
    print(f"{'total':24} {elapsed:8.1f} {total[0]:>7} {total[1]:>7} {total[2]:>8}")
    if elapsed > TIME_LIMIT:
        failures.append(f"time limit ({elapsed / 60:.0f} min, limit {TIME_LIMIT // 60})")
    if failures:
        print("failed: " + ", ".join(failures))
        total[1] = max(total[1], 1)
    print(f"{total[0]} passed, {total[1]} failed, {total[2]} skipped")
    return 1 if failures or not done else 0


if __name__ == "__main__":
    sys.exit(main())
