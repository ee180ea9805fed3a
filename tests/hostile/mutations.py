"""Break the package on purpose, one place at a time: some test has to notice.

    python -m nox -s mutations                 all of them
    python -m nox -s mutations -- detach save  those with one of these words in their names

Each mutation is an edit of one file of a copy of `src`, and names the tests that should fail. They
are run without any edit first: what fails then notices nothing. It ends with 1 if a mutation
survives, or if its edit does not fit the source any more.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["MUTATIONS", "Mutation"]

HERE = Path(__file__).parents[2]
SOURCE = HERE / "src" / "actstats"
PYTEST = ("-m", "pytest", "-x", "-q", "-n", "0", "-p", "no:cacheprovider", "--tb=no", "-rfE")


@dataclass(frozen=True)
class Mutation:
    """An edit that breaks something.

    Parameters
    ----------
    name : str
        What is broken.
    file : str
        Within the package.
    old, new : str
        Text that is there once, and what it becomes.
    tests : tuple of str
        What pytest is given, within `tests`.
    words : str
        Which of them, as `pytest -k` takes it; empty for all.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    words: str = ""

    def fits(self, source: Path = SOURCE) -> bool:
        """Tell whether the text is there once."""
        return (source / self.file).read_text().count(self.old) == 1

    def apply(self, source: Path) -> None:
        """Edit the copy of the package that is in a folder."""
        path = source / self.file
        path.write_text(path.read_text().replace(self.old, self.new))


NEUTRAL = "hostile/test_neutrality.py::test_a_recorder_changes_nothing"


def neutral(net: str, mode: str, recorder: str) -> str:
    return f"{NEUTRAL}[{net} - {mode} - {recorder}]"


MUTATIONS = (
    # ---- results ---------------------------------------------------------------------------------
    Mutation(
        "detach removed",
        "_torch/tensors.py",
        "resolved(tensor.detach())",
        "resolved(tensor)",
        (neutral("residual", "float32", "plain torch"),),
    ),
    Mutation(
        "a hook returns the output times one",
        "hooks/slot.py",
        'GradientHook(self, "", phase, None))\n        return None',
        'GradientHook(self, "", phase, None))\n        return output * 1',
        (neutral("residual", "float32", "defaults"),),
    ),
    Mutation(
        "a gradient hook returns the gradient times two",
        "hooks/gradients.py",
        "        return None if seen else self.run(grad)",
        "        return grad * 2 if seen else self.run(grad)",
        (neutral("residual", "float32", "all captures"),),
    ),
    Mutation(
        "a random number drawn in a hook",
        "hooks/slot.py",
        "            forward.busy = True\n",
        "            forward.busy = True\n            torch.rand(1)\n",
        (neutral("residual", "float32", "defaults"),),
    ),
    Mutation(
        "an accumulator made a buffer",
        "hooks/placing.py",
        "    slot.module = weakref.ref(module)\n",
        "    slot.module = weakref.ref(module)\n"
        '    module.register_buffer("seen", torch.ones(1))\n',
        (neutral("residual", "float32", "defaults"),),
    ),
    Mutation(
        "a hook left after detach",
        "attachment.py",
        "        for handle in self.handles:\n            handle.remove()",
        "        for handle in self.handles[1:]:\n            handle.remove()",
        (neutral("residual", "float32", "defaults"),),
    ),
    Mutation(
        "the mode that sees functions left on",
        "forwards.py",
        "            self.mode.switch(False)",
        "            pass",
        (neutral("names", "float32", "functions"),),
    ),
    # ---- counting --------------------------------------------------------------------------------
    Mutation(
        "recompute check removed",
        "_torch/states.py",
        "    return graph_task() != -1",
        "    return False",
        ("test_hooks.py::test_checkpointing_counts_once_with_gradients",),
    ),
    Mutation(
        "recompute check removed from the short way",
        "hooks/slot.py",
        "            or graph_task() != -1\n",
        "",
        ("test_quick.py::test_a_checkpoint_that_is_computed_again_inside_the_forward",),
    ),
    Mutation(
        "a gradient counted in each backward",
        "hooks/gradients.py",
        "        if self.fired:\n            reason",
        "        if False:\n            reason",
        ("test_hooks.py::test_gradient_accumulation_and_a_second_backward",),
    ),
    Mutation(
        "z read after it was overwritten",
        "hooks/slot.py",
        'activation is not None and activation.judged_from == "input"',
        "False",
        ("test_hooks.py::test_z_is_read_before_an_inplace_activation_overwrites_it",),
    ),
    Mutation(
        "units of convolutions on the wrong axis",
        "sites.py",
        "    if isinstance(module, _UNITS_SECOND):\n        return 1",
        "    if isinstance(module, _UNITS_SECOND):\n        return 2",
        ("test_hooks.py::test_convolutions_have_their_units_on_axis_one",),
    ),
    Mutation(
        "units of linear layers on the wrong axis",
        "sites.py",
        "    if isinstance(module, _UNITS_LAST):\n        return -1",
        "    if isinstance(module, _UNITS_LAST):\n        return 0",
        ("test_sites.py::test_unit_axis",),
    ),
    Mutation(
        "gradient scale ignored",
        "hooks/gradients.py",
        'add(slot, "grad", self.suffix, module, grad, self.phase, self.mask, scale)',
        'add(slot, "grad", self.suffix, module, grad, self.phase, self.mask, None)',
        ("test_recorder.py::test_grad_scaler",),
    ),
    Mutation(
        "gradient scale ignored on the short way",
        "hooks/gradients.py",
        "            or shared.grad_scale is not None\n",
        "",
        ("test_quick.py::test_a_gradient_scale_that_comes_and_goes_during_a_run",),
    ),
    Mutation(
        "mask ignored on the short way",
        "shared.py",
        "self.steady = self.active and not (masked or tracing)",
        "self.steady = self.active",
        ("test_quick.py::test_a_mask_set_before_a_forward",),
    ),
    Mutation(
        "phase of the module and not of the model",
        "hooks/observing.py",
        '    phase = shared.current_phase()\n    call = "" if recompute',
        '    phase = "train" if module.training else "eval"\n    call = "" if recompute',
        ("test_recorder.py::test_a_frozen_child_does_not_make_it_eval",),
    ),
    Mutation(
        "a window's numbers kept for the next one too",
        "run.py",
        "            forget(self.shared)\n",
        "",
        ("test_recorder.py::test_windows_of_a_given_number_of_steps",),
    ),
    Mutation(
        "a window merged twice",
        "recording.py",
        "[a if b is None else a.merge(b) for",
        "[a if b is None else a.merge(b).merge(b) for",
        ("test_recorder.py::test_a_long_run_keeps_few_windows_and_every_count",),
    ),
    Mutation(
        "parametrizations taken for layers",
        "sites.py",
        "        if id(module) not in parametrizations\n        and not",
        "        if not",
        ("test_hooks.py::test_containers_and_parametrizations_are_left_out",),
    ),
    Mutation(
        "names of wrappers kept",
        "sites.py",
        "    return inner if isinstance(inner, nn.Module) else None",
        "    return None",
        ("test_sites.py::test_wrappers_leave_no_trace_in_names",),
    ),
    # ---- numbers ---------------------------------------------------------------------------------
    Mutation(
        "sign of the spread between merged groups",
        "moments.py",
        "m2_a + m2_b + delta * (delta * (n_a * share))",
        "m2_a + m2_b - delta * (delta * (n_a * share))",
        ("test_moments.py",),
    ),
    Mutation(
        "spread between merged groups dropped",
        "moments.py",
        "m2_a + m2_b + delta * (delta * (n_a * share))",
        "m2_a + m2_b",
        ("test_moments.py",),
    ),
    Mutation(
        "merging into nothing computed, not copied",
        "moments.py",
        "low = where(n_a == 0, low_b, low_a + error)",
        "low = low_a + error",
        ("test_moments.py",),
    ),
    Mutation(
        "merging with an empty side taken for a call",
        "stats.py",
        "        if self.calls == 0 and self.count == 0:\n            return other\n",
        "",
        ("test_stats.py::test_empty_is_the_identity",),
    ),
    Mutation(
        "NaN in the mean",
        "kernels/reference.py",
        "        known = values.where(finite, 0.0)",
        "        known = values",
        ("kernels/test_reference.py",),
    ),
    Mutation(
        "last value of a block left out by the compiled kernel",
        "kernels/cpu.py",
        "        W.INNER_TO: inner,\n        W.EXTENT",
        "        W.INNER_TO: max(1, inner - 1),\n        W.EXTENT",
        ("kernels/test_cpu.py",),
    ),
    Mutation(
        "another shape read by the last one's plan",
        "kernels/cpu.py",
        "                or x.shape != self.shape\n",
        "",
        ("kernels/test_cpu.py",),
    ),
    # ---- life ------------------------------------------------------------------------------------
    Mutation(
        "steps of two threads end at once",
        "run.py",
        "        with self.shared.ending:\n            if step is not None:",
        "        if True:\n            if step is not None:",
        ("test_recorder.py::test_a_step_waits_until_another_threads_has_ended",),
    ),
    Mutation(
        "lock removed from observations",
        "hooks/adding.py",
        "    with slot.shared.lock:\n        _fit(slot.shared, leaf, x, axis, part.pooled)",
        "    if True:\n        _fit(slot.shared, leaf, x, axis, part.pooled)",
        ("hostile/test_threads.py::test_threads_count_what_one_thread_counts[reference]",),
    ),
    Mutation(
        "copies of a model record",
        "hooks/base.py",
        "    def __deepcopy__(self, memo: object) -> Callable[..., None]:\n        return inert",
        "    def __deepcopy__(self, memo: object) -> Callable[..., None]:\n        return self",
        ("test_recorder.py::test_copies_of_an_attached_model_are_inert",),
    ),
    Mutation(
        "a recorder that is dropped leaves its hooks",
        "recorder.py",
        "    hooks.remove()\n    run.finish()",
        "    run.finish()",
        ("test_recorder.py::test_dropping_the_recorder_removes_its_hooks_at_once",),
    ),
    Mutation(
        "an error in a hook reaches the user",
        "shared.py",
        "        if self.options.strict:\n            raise error",
        "        raise error",
        ("test_recorder.py::test_an_error_is_logged_once_and_turns_the_site_off",),
    ),
    Mutation(
        "a forked worker records",
        "shared.py",
        "        shared.forked, shared.active, shared.steady = True, False, False",
        "        shared.forked, shared.active, shared.steady = False, True, True",
        ("hostile/test_life.py::test_what_a_forked_child_sees_is_left_out_and_said",),
    ),
    Mutation(
        "a lock inherited by a forked worker",
        "shared.py",
        "        shared.lock, shared.ending = RLock(), RLock()",
        "        shared.lock, shared.ending = shared.lock, shared.ending",
        ("log/test_recorder_log.py::test_a_child_forked_while_a_step_ends_does_not_wait_for_it",),
    ),
    # ---- compiled --------------------------------------------------------------------------------
    Mutation(
        "a hook traced into an export",
        "hooks/base.py",
        "            if not torch.compiler.is_exporting():\n                self.trace(*args)",
        "            self.trace(*args)",
        ("test_hooks.py::test_tracing_and_export_leave_no_trace",),
    ),
    Mutation(
        "an op that declares no change",
        "compiled.py",
        '"call(Tensor(a!) order',
        '"call(Tensor order',
        ("test_compile.py",),
        "one_graph and inductor",
    ),
    Mutation(
        "a name read in the graph",
        "hooks/slot.py",
        "        if self.shared.active:\n"
        "            compiled.trace(self.shared, self.key, leaves(output)",
        "        if self.shared.active and self.name:\n"
        "            compiled.trace(self.shared, self.key, leaves(output)",
        ("test_compile.py::test_blocks_compiled_one_by_one_share_their_graphs[aot_eager]",),
    ),
    # ---- files and ranks -------------------------------------------------------------------------
    Mutation(
        "a file saved by writing over the old one",
        "log/writer.py",
        '        part = Path(folder) / "part"\n',
        "        part = path\n",
        ("log/test_writer.py",),
    ),
    Mutation(
        "the old file emptied before the new one is in its place",
        "log/writer.py",
        "        os.replace(part, path)\n    _sync",
        "        path.write_bytes(part.read_bytes())\n    _sync",
        ("log/test_writer.py",),
    ),
    Mutation(
        "digests not compared",
        "log/reader.py",
        "row.number != number or told != row.digest(before)",
        "row.number != number",
        ("log/test_damage.py",),
    ),
    Mutation(
        "ranks and their keys in another order on each rank",
        "distributed/merging.py",
        "self.plan = Plan([outlines[outline] for outline, *_ in texts], names)",
        "self.plan = Plan([outlines[o] for o, *_ in texts[:: -1 if rank else 1]], names)",
        ("distributed/test_merge_ranks.py",),
        "2 and ranks and shuffled",
    ),
)


# ---- running -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """What became of a mutation.

    Parameters
    ----------
    mutation : Mutation
        Which one.
    test : str
        The test that noticed it; empty where none did.
    trouble : str
        What is wrong; empty where nothing is.
    seconds : float
        How long the tests took.
    """

    mutation: Mutation
    test: str = ""
    trouble: str = ""
    seconds: float = 0.0

    def __str__(self) -> str:
        name = self.mutation.name
        return f"{name:<60} {self.trouble or self.test} ({self.seconds:.0f} s)"


def run_tests(source: Path, tests: Iterable[str], words: str) -> tuple[int, str]:
    """Run tests against a copy of the package; return pytest's code, and the first that failed."""
    chosen = [f"tests/{test}" for test in tests]
    more = {"PYTHONPATH": str(source.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, *PYTEST, *chosen, "-k", words],
        cwd=HERE,
        env={**os.environ, **more, "NUMBA_CACHE_DIR": str(source.parent / "numba")},
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    failed = re.search(
        r"^(?:FAILED|ERROR) (\S+?(?:\[.*?\])?)(?: - .*)?$", done.stdout, re.MULTILINE
    )
    said = f"{done.stdout}{done.stderr}".strip().splitlines() or ["nothing was said"]
    return done.returncode, failed[1] if failed else said[-1]


def judged(mutation: Mutation, source: Path) -> Verdict:
    """Break the copy, run the tests, and put it right again."""
    if not mutation.fits(source):
        return Verdict(mutation, trouble="THE EDIT DOES NOT FIT: its text is not there once")
    whole = source / mutation.file
    kept = source.parent / "kept"
    shutil.copy2(whole, kept)
    began = time.monotonic()
    try:
        mutation.apply(source)
        code, said = run_tests(source, mutation.tests, mutation.words)
    except subprocess.TimeoutExpired:
        code, said = 1, "the tests did not end"
    finally:
        shutil.copy2(kept, whole)
    seconds = time.monotonic() - began
    if code == 1:
        return Verdict(mutation, test=said, seconds=seconds)
    trouble = "SURVIVED" if code == 0 else f"NOT TRIED: {said}"
    return Verdict(mutation, trouble=trouble, seconds=seconds)


def fails_anyway(mutations: Iterable[Mutation], source: Path) -> str:
    """Return a test that fails without any mutation; empty where none does."""
    tests: dict[str, dict[str, None]] = {}
    for mutation in mutations:
        tests.setdefault(mutation.words, {}).update(dict.fromkeys(mutation.tests))
    for words, paths in tests.items():
        code, said = run_tests(source, paths, words)
        if code:
            return said
    return ""


def main(words: Iterable[str] = sys.argv[1:]) -> int:
    """Judge the mutations with one of some words in their names; all without any."""
    wanted = tuple(words)
    chosen = [m for m in MUTATIONS if not wanted or any(word in m.name for word in wanted)]
    verdicts = []
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "src" / "actstats"
        shutil.copytree(SOURCE, source, ignore=shutil.ignore_patterns("__pycache__"))
        failing = fails_anyway(chosen, source)
        if failing:
            print(f"fails without any mutation: {failing}")
            return 1
        for number, mutation in enumerate(chosen, 1):
            verdicts.append(judged(mutation, source))
            print(f"{number:>2} of {len(chosen)}: {verdicts[-1]}", flush=True)
    noticed = sum(not verdict.trouble for verdict in verdicts)
    print(f"{noticed} of {len(verdicts)} mutations are noticed")
    return int(noticed < len(verdicts) or not verdicts)


if __name__ == "__main__":
    sys.exit(main())
