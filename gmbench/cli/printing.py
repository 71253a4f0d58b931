"""What commands print: tables and lines, of records, methods, datasets and what was found wrong."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from gmbench.audit.check import REMEDIES, verdict
from gmbench.data.cards import REAL, DatasetCard, broken_cards, dataset_cards, registered_cards
from gmbench.data.catalogue import catalogue
from gmbench.data.locations import state_of
from gmbench.data.manifest import read_manifest, stored_card
from gmbench.errors import GmbenchError, NotFoundError
from gmbench.protocol.settings import SETTINGS
from gmbench.records.scoring import EVALUATORS, Compared
from gmbench.registry import Method, broken_methods, methods
from gmbench.support.cache import cache_folder, kept_sizes
from gmbench.support.parameters import written

if TYPE_CHECKING:
    from rich.console import Console

    from gmbench.audit.check import AuditReport
    from gmbench.data.importing.importer import Report
    from gmbench.evaluators.significance import NewSeeds, PairedDifference
    from gmbench.records.comparison import Comparison
    from gmbench.records.scoring import Evaluation
    from gmbench.runs.asking import Asked
    from gmbench.runs.models import Model
    from gmbench.runs.reproduce import Rerun
    from gmbench.runs.runner import Outcome
    from gmbench.runs.sweep import Planned, Swept
    from gmbench.submissions.check import Checked
    from gmbench.submissions.submit import Submitted
    from gmbench.submissions.validate import Validated

MANY = 20
"""Of more records, not each one has a line."""

SMALLEST_P = 1e-12
"""What is smaller is no more than rounding."""


def print_methods(console: Console) -> None:
    """A line per method, and one for each that cannot be read."""
    table = Table("method", "year", "looks at", "title", box=None, pad_edge=False)
    for method in methods().values():
        table.add_row(method.slug, str(method.card.year), method.card.looks_at, method.title)
    console.print(table)
    _print_broken(console, broken_methods())


def print_datasets(console: Console) -> None:
    """A line per dataset, with its state (see `gmbench.data.locations`), and one for each that cannot be read."""
    table = Table("dataset", "pixels", "sources", "images", "state", box=None, pad_edge=False)
    broken: dict[str, GmbenchError] = dict(broken_cards())
    for card in dataset_cards().values():
        try:
            state = state_of(card)
            here = card if state.folder is None else stored_card(card, read_manifest(state.folder))
        except GmbenchError as error:
            broken[card.slug] = error
            continue
        size = f"{card.resolution}x{card.resolution}"
        sources = f"{len(card.sources)}"
        if len(state.sources) < len(card.sources):
            sources = f"{len(state.sources)} of {len(card.sources)}"
        table.add_row(card.slug, size, sources, f"{here.total_images:,}", state.word)
    console.print(table, highlight=False)
    _print_broken(console, broken)


def print_data(console: Console) -> None:
    """A line per dataset that is here: its state, how large its files are, and where they are."""
    broken: dict[str, GmbenchError] = dict(broken_cards())
    for card in dataset_cards().values():
        try:
            state = state_of(card)
        except GmbenchError as error:
            broken[card.slug] = error
            continue
        if state.folder is not None:
            size = sum(path.stat().st_size for path in state.folder.rglob("*") if path.is_file()) / 2**20
            sources = f"{len(state.sources)} of {len(card.sources)} sources"
            line = f"{card.slug}: {state.word}, {sources}, {size:,.1f} MiB, {state.folder}"
            console.print(Text(line), soft_wrap=True)
    _print_broken(console, broken)


def _print_broken(console: Console, broken: Mapping[str, GmbenchError]) -> None:
    """A line for each dataset or method that is here and cannot be read."""
    for slug, error in broken.items():
        console.print(Text(f"{slug}: damaged: {error}"), soft_wrap=True)


def print_cache(console: Console) -> None:
    """Where cached work is, and a line per kind of it."""
    table = Table("kind", "files", "MiB", box=None, pad_edge=False)
    sizes = kept_sizes()
    for kind, (n, size) in sizes.items():
        table.add_row(kind, f"{n:,}", f"{size / 2**20:,.1f}")
    console.print(Text(f"{cache_folder()}: {sum(size for _, size in sizes.values()) / 2**20:,.1f} MiB"), soft_wrap=True)
    if sizes:
        console.print(table, highlight=False)


def removed(console: Console, folders: Sequence[Path]) -> None:
    """A line per folder that was removed."""
    for folder in folders:
        console.print(Text(f"removed {folder}"), soft_wrap=True)


def print_generators(console: Console) -> None:
    """A line per generative model."""
    table = Table("generator", "family", "paper", box=None, pad_edge=False)
    for card in catalogue().values():
        table.add_row(card.name, card.family, card.paper)
    console.print(table)


def print_info(console: Console, slug: str) -> None:
    """The card of a method or a dataset.

    Raises:
        NotFoundError: there is neither of that name.
    """
    if slug in methods():
        _print_method(console, methods()[slug])
    elif slug in (cards := dataset_cards()):
        _print_dataset(console, cards[slug])
    elif slug in (broken := broken_methods() | broken_cards()):
        raise broken[slug]
    else:
        raise NotFoundError.of("method or dataset", slug, [*methods(), *cards])


def print_import(console: Console, card: DatasetCard, folder: Path, report: Report) -> None:
    """What an import matched, missed, ignored and set aside, and where the dataset is."""
    _print_scan(console, report)
    for reason, n in report.quarantined.items():
        console.print(Text(f"set aside: {n:,} {reason} (see {folder / 'quarantine.jsonl'})"), soft_wrap=True)
    for line in report.warnings:
        console.print(Text(f"warning: {line}."), soft_wrap=True)
    sources = len(report.images)
    console.print(
        f"\n{card.slug}: {sum(report.images.values()):,} images, {sources} of {len(card.sources)} sources: {folder}",
        highlight=False,
        soft_wrap=True,
    )


def print_import_check(console: Console, card: DatasetCard, report: Report) -> None:
    """What an import would take as what."""
    _print_scan(console, report)
    for line in report.warnings:
        console.print(Text(f"warning: {line}."), soft_wrap=True)
    sources = len({source for source, _ in report.matched.values()})
    line = f"{card.slug}: {report.reads:,} images would be read, of {sources} of {len(card.sources)} sources, at "
    console.print(Text(f"\n{line}{card.resolution}x{card.resolution}. Nothing was written."), soft_wrap=True)


def _print_scan(console: Console, report: Report) -> None:
    """Each folder with its source, and what is joined, ignored and missing."""
    table = Table(box=None, pad_edge=False)
    # Folded and not cut, so that no two folders look alike.
    for name in ("folder", "source", "images", *(["note"] if set(report.notes) & set(report.matched) else [])):
        table.add_column(name, overflow="fold")
    for name, (source, n) in report.matched.items():
        table.add_row(
            Text(name), source, f"{n:,}", *([Text(report.notes.get(name, ""))] if len(table.columns) > 3 else [])
        )
    console.print(table, highlight=False)
    for name, note in report.notes.items():
        if name not in report.matched:
            console.print(Text(f"{name}: {note}"), soft_wrap=True)
    for source, places in report.joined.items():
        shown = ", ".join(places[:6]) + (f" and {len(places) - 6} more" if len(places) > 6 else "")
        console.print(Text(f"joined: {source} is from {len(places)} folders: {shown}"), soft_wrap=True)
    for name, why in report.ignored.items():
        console.print(Text(f"ignored: {name}: {why}"), soft_wrap=True)
    if report.missing:
        console.print(Text(f"missing: {', '.join(report.missing)}"), soft_wrap=True)


def print_outcome(console: Console, outcome: Outcome) -> None:
    """The scores of a run and the path of its record."""
    record = outcome.record
    accuracy, identity = record.scores.accuracy, record.identity
    place = f"on [bold]{identity.dataset}[/bold], {identity.setting}"
    if identity.tested_on:
        place = f"fitted on [bold]{identity.dataset}[/bold], tested on [bold]{identity.tested_on}[/bold]"
    console.print(
        f"\n[bold]{identity.entry}[/bold] {place}, "
        f"seed {identity.seed}{' (this very run was recorded before)' if outcome.was_there else ''}\n",
        highlight=False,
    )
    scores = Table("score", "value", "", box=None, pad_edge=False)
    for evaluator in EVALUATORS:
        for figure in evaluator.figures(record.scores, identity.sources):
            scores.add_row(*figure)
    if (epoch := record.training.get("best_epoch")) is not None:
        chosen = record.training["val_accuracy"][epoch - 1]
        scores.add_row("validation accuracy", f"{chosen:.1%}", f"of epoch {epoch}, the best; choose parameters by this")
    console.print(scores, highlight=False)
    table = Table("true source", "recall", "attributed to", box=None, pad_edge=False)
    for source, counts in zip(identity.sources, accuracy.confusion, strict=True):
        others = sorted(((n, name) for n, name in zip(counts, identity.sources, strict=True) if n), reverse=True)
        spread = ", ".join(f"{name} {n}" for n, name in others[:4])
        table.add_row(source, f"{accuracy.recall[source]:.0%}", spread)
    console.print()
    console.print(table, highlight=False)
    spent = ", ".join(f"{name} {seconds:.0f}" for name, seconds in record.seconds.items())
    memory = "" if record.peak_memory_mib is None else f", {record.peak_memory_mib:,} MiB of memory at most"
    console.print(f"\ndone in {sum(record.seconds.values()):.0f} s ({spent}){memory}", highlight=False)
    console.print(f"record: {outcome.folder / 'record.json'}", highlight=False, soft_wrap=True)


def print_model(console: Console, model: Model) -> None:
    """What was fitted, how well it did on validation images, and how to ask it."""
    kept = model.kept
    console.print(
        f"\n[bold]{kept.identity.entry}[/bold], fitted on [bold]{kept.identity.dataset}[/bold], "
        f"{kept.identity.setting}, seed {kept.identity.seed}: {len(kept.identity.sources)} sources\n",
        highlight=False,
    )
    facts = _facts()
    facts.add_row("validation accuracy", f"{kept.val_accuracy:.1%}")
    facts.add_row("temperature", f"{kept.temperature:.2f}")
    facts.add_row(
        "unknown", f"below a probability of {kept.threshold:.2f}, which {kept.refused:.1%} of known images are"
    )
    console.print(facts, highlight=False)
    console.print(f"\nNow: gmbench attribute IMAGE --model {model.folder}", highlight=False, soft_wrap=True)


def print_answers(console: Console, model: Model, asked: Asked, verdict: Mapping[str, float] | None) -> None:
    """A line per image: source, the three most probable ones, evidence; what could not be read; the verdict on all."""
    table = Table("image", "source", "probability", "next", "generated : real", box=None, pad_edge=False)
    for answer in asked.answers:
        first, *others = answer.ranked[:3]
        name = Path(answer.name).name if len(asked.answers) > 1 else answer.name
        table.add_row(
            Text(name),
            answer.source if answer.known else f"{answer.source} ({first[0]}?)",
            f"{first[1]:.0%}" + (f", {answer.agreement:.0%} of crops" if answer.agreement < 1 else ""),
            ", ".join(f"{source} {probability:.0%}" for source, probability in others),
            f"10^{answer.log10_generated:+.1f}",
        )
    console.print(table, highlight=False)
    changed = Counter(change for answer in asked.answers for change in answer.changes)
    for change, n in changed.items():
        console.print(f"{change}: {n:,} image{'s' if n > 1 else ''}", highlight=False)
    for path, why in asked.refused.items():
        console.print(Text(f"not attributed: {path}: {why}"), soft_wrap=True)
    console.print(
        f"\nProbabilities are calibrated on validation images of {model.kept.identity.dataset} and hold for images "
        "of its sources alone. generated : real is how many times more probable the image is if it was generated. "
        "No evidence against a person: docs/models.md.",
        highlight=False,
        soft_wrap=True,
    )
    if verdict is not None:
        ranked = sorted(verdict.items(), key=lambda item: -item[1])[:3]
        said = ", ".join(f"{source} {probability:.1%}" for source, probability in ranked)
        about = f"If all {len(asked.answers)} are of one origin, and independent given it"
        console.print(f"\n{about}: {said}.", highlight=False, soft_wrap=True)


def print_comparison(console: Console, comparison: Comparison) -> None:
    """Both accuracies, their paired difference, and what follows in words."""
    paired = comparison.paired
    table = Table("", "value", "", box=None, pad_edge=False)
    for entry in (comparison.first, comparison.second):
        low, high = entry.interval
        seeds = f"{len(entry.records)} seed{'s' if len(entry.records) > 1 else ''}"
        interval = f"95 % interval {low:.1%} to {high:.1%}, {seeds}"
        table.add_row(entry.name, f"{entry.accuracies.mean():.1%}", interval)
    table.add_row("difference", f"{100 * paired.difference:+.1f} points", "")
    table.add_row("wins / losses", f"{paired.wins} / {paired.losses}", f"of {comparison.images:,} test images")
    once = len(comparison.first.records) == len(comparison.second.records) == 1
    answers: dict[str, tuple[PairedDifference | NewSeeds, str]] = {
        "these seeds": (paired, "McNemar's test" if once else "permutation test")
    }
    if paired.new_seeds is not None:
        answers["new seeds"] = paired.new_seeds, "t-test"
    for seeds, (answer, test) in answers.items():
        interval = f"{100 * answer.low:+.1f} to {100 * answer.high:+.1f}"
        p = f"p = {answer.p:.2g}" if answer.p >= SMALLEST_P else f"p < {SMALLEST_P:.0e}"
        table.add_row(f"with {seeds}", interval, f"95 % interval; {p} ({test})")
    console.print(table, highlight=False)
    console.print(f"\n{comparison.verdict}", highlight=False, soft_wrap=True)


def print_settings(console: Console) -> None:
    """A line per setting, with what it does."""
    table = Table("setting", "what it does", box=None, pad_edge=False)
    for setting in SETTINGS.values():
        table.add_row(setting.slug, setting.words)
    console.print(table, highlight=False)


def print_planned(console: Console, planned: Sequence[Planned]) -> None:
    """A line per run that a sweep would do, and how many there are already."""
    for run in planned:
        if not run.is_there:
            console.print(run.name, highlight=False, soft_wrap=True)
    there = sum(run.is_there for run in planned)
    console.print(f"{len(planned) - there} of {len(planned)} runs to do, {there} with a record", highlight=False)


def print_swept(console: Console, swept: Swept) -> None:
    """How many cells of a matrix were run, and which were not, and why."""
    console.print(f"\n{swept.ran} run, {swept.were_there} recorded before", highlight=False)
    for words, cells in (("skipped", swept.skipped), ("FAILED", swept.failed)):
        for name, reason in cells.items():
            console.print(f"{words}: {name}: {reason}", highlight=False, markup=False, soft_wrap=True)


def print_submitted(console: Console, method: Method, submitted: Submitted) -> None:
    """How the runs ended, which pages are new, and what to commit."""
    print_swept(console, submitted.swept)
    for path in submitted.pages:
        console.print(f"wrote {path}", highlight=False, soft_wrap=True)
    if submitted.swept.failed:
        console.print("The pages stay as they are until all runs end well. The same command goes on.", soft_wrap=True)
        return
    paths = " ".join(shlex.quote(path.as_posix()) for path in submitted.to_commit)
    then = f"gmbench validate {paths.split()[-1]} && git add {paths} && git commit"
    console.print(f"\nNow: {then}", highlight=False, markup=False, soft_wrap=True)
    if len(submitted.to_commit) == 1:
        console.print(
            f"{method.folder} lies outside the project: others can run {method.slug} only once it is in methods/.",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )


def print_rerun(console: Console, again: Rerun) -> None:
    """Both accuracies, and what follows."""
    console.print(
        f"\nrun again: {again.folder}\naccuracy {again.found:.1%}, the record says {again.claimed:.1%}; the same "
        f"source for {again.agreement:.1%} of the test images (McNemar's p = {again.p:.2g})",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    for problem in again.problems:
        console.print(problem, highlight=False, markup=False, soft_wrap=True)
    verdict = "ok: the code gives what the record says" if again.holds else "WRONG: the code does not give this record"
    console.print(verdict, highlight=False)


def print_evaluation(console: Console, evaluation: Evaluation) -> None:
    """Every score that was computed anew, beside the record's; then what differs, and what was not computed."""
    table = Table("score", "record", "now", "", box=None, pad_edge=False)
    for score in evaluation.compared:
        table.add_row(score.name, *_cells(score))
    console.print(table, highlight=False)
    console.print(f"\n{_evaluated(evaluation)}", highlight=False, soft_wrap=True)


def print_evaluations(console: Console, evaluations: Mapping[Path, Evaluation]) -> None:
    """A line per record, by its folder, and how many are wrong."""
    for folder, evaluation in evaluations.items():
        mark = "WRONG" if evaluation.differing else "ok"
        console.print(f"{mark}  {folder}: {_evaluated(evaluation)}", highlight=False, markup=False, soft_wrap=True)
    wrong = sum(bool(evaluation.differing) for evaluation in evaluations.values())
    console.print(f"\n{len(evaluations)} records, {wrong} wrong", highlight=False)


def _evaluated(evaluation: Evaluation) -> str:
    """How many scores were compared, which differ, and that FDR and NMI were not computed if they were not."""
    parts = [f"{len(evaluation.compared)} scores compared"]
    if differing := evaluation.differing:
        names = [f"{score.name} ({before}, now {now})" for score in differing for before, now, _ in [_cells(score)]]
        parts.append(f"these are not those of its predictions and features: {', '.join(names)}")
    if not evaluation.with_features and evaluation.scores.fdr is not None:
        parts.append("FDR and NMI are the record's: its features are no longer in the cache")
    return "; ".join(parts)


def _cells(score: Compared) -> tuple[str, str, str]:
    """A score as it was and as it is, and whether it differs; of lists, how many numbers, or the first that differ."""
    if not isinstance(score.before, list) or not isinstance(score.now, list):
        return _figure(score.before), _figure(score.now), "" if score.is_same else "differs"
    before, now = _flat(score.before), _flat(score.now)
    lengths = f"{len(before)} numbers", f"{len(now)} numbers"
    if score.is_same or len(before) != len(now):
        return *lengths, "" if score.is_same else "differs"
    pairs = [pair for pair in zip(before, now, strict=True) if not Compared(score.name, *pair).is_same]
    first, second = pairs[0]
    return _figure(first), _figure(second), f"differs: {len(pairs)} of {lengths[0]}, the first is shown"


def _flat(values: list[Any]) -> list[Any]:
    """The numbers of a list, or of a list of lists."""
    return [number for row in values for number in (row if isinstance(row, list) else [row])]


def _figure(value: object) -> str:
    """A score in a few characters: numbers with ten digits, so that what differs can be seen to."""
    return f"{value:.10g}" if isinstance(value, float) else "-" if value is None else str(value)


def _print_method(console: Console, method: Method) -> None:
    card = method.card
    console.print(f"[bold]{method.slug}[/bold]  {method.title}\n{card.paper}", highlight=False)
    console.print(f"looks at: {card.looks_at}\nneeds: {card.needs}", highlight=False, markup=False)
    console.print(f"code and README: {method.folder}\n", highlight=False, soft_wrap=True)
    table = Table("parameter", "type", "default", "meaning", box=None, pad_edge=False)
    for name, parameter in method.card.parameters.items():
        if name not in method.fixed:
            allowed = " | ".join(parameter.choices) or parameter.type
            idle = "".join(f"; no effect with {written(case)}" for case in parameter.no_effect_with)
            table.add_row(name, allowed, str(parameter.default), parameter.meaning + idle)
    console.print(table, highlight=False)


def _room(size: int) -> str:
    """A number of bytes, in megabytes or gigabytes."""
    return f"{size / 1e9:,.0f} GB" if size >= 1e10 else f"{size / 1e6:,.0f} MB"


def _print_dataset(console: Console, card: DatasetCard) -> None:
    state = state_of(card)
    console.print(f"[bold]{card.slug}[/bold]  {card.title}\n{card.description}\n", highlight=False)
    facts = _facts()
    here = "" if state.folder is None else f", {len(state.sources)} of {len(card.sources)} sources"
    facts.add_row("state", state.word + here)
    if card.slug in registered_cards() and not card.embedded:
        facts.add_row(
            "on the Hub", f"{card.repository}, " + (f"revision {card.revision}" if card.revision else "no revision")
        )
    facts.add_row("real", card.real.title)
    facts.add_row("licence", f"{card.real.licence} ({card.real.url})")
    reals = card.images.by_source.get(REAL, card.images.per_source)
    facts.add_row(
        "images",
        f"{card.images.per_source:,} per source, {reals:,} real and {card.images.manifold:,} manifold reals, "
        f"{card.resolution}x{card.resolution} pixels",
    )
    facts.add_row(
        "size", f"{card.total_images:,} images; {_room(card.decoded_bytes)} in the cache, where a run decodes them"
    )
    console.print(facts, highlight=False)
    for name, source in card.generators.items():
        facts = _facts()
        for field in ("family", "paper", "code", "checkpoint", "licence", "sample"):
            if value := getattr(source, field):
                facts.add_row(field, value)
        if source.aliases:
            facts.add_row("folders", ", ".join([name, *source.aliases]))
        if source.choices:
            facts.add_row(
                "choices", ", ".join(f"{choice.replace('_', ' ')}: {value}" for choice, value in source.choices.items())
            )
        if source.reference:
            facts.add_row("reference", source.reference)
        missing = "" if name in state.sources else "  [bold](missing here)[/bold]"
        console.print(f"\n[bold]{name}[/bold]  {source.title}{missing}", highlight=False)
        console.print(facts, highlight=False, markup=False)


def _facts() -> Table:
    """A table of names and values; long values, such as addresses, go on in the next line."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True, style="dim", min_width=10)
    table.add_column(overflow="fold")
    return table


def print_audit(console: Console, report: AuditReport) -> None:
    """The checks of a report, and how many passed."""
    images = sum(report.images.values())
    console.print(
        f"\n[bold]{report.dataset}[/bold], revision {report.revision[:12]}, {images:,} images\n", highlight=False
    )
    table = Table("check", "expected", "found", "result", box=None, pad_edge=False)
    for check in report.checks:
        table.add_row(check.name, check.expected, check.found, verdict(check), style=None if check.passed else "bold")
    console.print(table, highlight=False)
    gates = [check for check in report.checks if check.gate]
    for check in gates:
        if not check.passed and (remedy := REMEDIES.get(check.name)):
            console.print(Text(f"{check.name}: {remedy}."), soft_wrap=True)
    console.print(f"\n{sum(check.passed for check in gates)} of {len(gates)} checks passed", highlight=False)


def print_diagnosis(console: Console, facts: dict[str, str]) -> None:
    """A line per fact, as plain text."""
    width = max(map(len, facts))
    for name, value in facts.items():
        console.print(f"{name:<{width}}  {value}", highlight=False, markup=False, soft_wrap=True)


def print_checked(console: Console, checked: Sequence[Checked]) -> None:
    """A line per finding."""
    from gmbench.submissions.check import BRANCH

    for of_method in checked:
        console.print(Text(of_method.method, style="bold"), soft_wrap=True)
        for finding in of_method.findings:
            line = f"  {'ok  ' if finding.ok else 'FAIL'}  {finding.check}"
            console.print(Text(f"{line}: {finding.message}" if finding.message else line), soft_wrap=True)
    wrong = [of_method.method for of_method in checked if not of_method.ok]
    verdict = f"failed: {', '.join(wrong)}" if wrong else "all well"
    n = sum(of_method.method != BRANCH for of_method in checked)
    console.print(Text(f"\n{n} checked, {verdict}"), soft_wrap=True)


def print_validated(console: Console, validated: Sequence[Validated], quiet: bool = False) -> None:
    """How many records there are and how many are wrong, then a line per record with what is wrong or worth knowing.

    Of many records, those of which there is nothing to say are counted, a line per row of the leaderboard. `quiet`:
    only those that are wrong.
    """
    wrong, warned = (sum(map(bool, said)) for said in zip(*((r.problems, r.warnings) for r in validated), strict=True))
    about = f", {warned} with warnings, which need nothing of you if the method is not yours" if warned else ""
    console.print(f"{len(validated)} records, {wrong} wrong{about}", highlight=False, soft_wrap=True)
    right = [of_record for of_record in validated if of_record.ok and not of_record.warnings]
    for of_record in validated:
        if (quiet and of_record.ok) or (of_record in right and len(validated) > MANY):
            continue
        lines = [f"{'ok' if of_record.ok else 'WRONG'}  {os.path.relpath(of_record.folder)}"]
        lines += [f"  {problem}" for problem in of_record.problems]
        lines += [f"  warning: {warning}" for warning in of_record.warnings]
        console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)
    if len(validated) > MANY and not quiet:
        for row, n in Counter(os.path.relpath(Path(of_record.folder).parent) for of_record in right).items():
            console.print(f"ok  {row}: {n}", highlight=False, soft_wrap=True)
