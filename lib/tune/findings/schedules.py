"""Which schedule of the learning rate: how far, how fast, how steadily."""

from functools import partial

from lib.config.optimisation import OptimSection
from lib.report.study import Figure
from lib.report.study_figures import lines
from lib.report.svg import number
from lib.train.schedules import learning_rate, rate_curve
from lib.tune.findings.answer import Answer, accuracy_figure, best_sentences, called, comparison, curves
from lib.tune.plan import StudyPlan
from lib.tune.space import run_config
from lib.tune.variant import Numbers, Variant


def find(numbers: Numbers) -> Answer:
    """Compare final accuracy, epochs to converge, and the spread over seeds."""
    answer = Answer(best_sentences(numbers))
    fastest = min(numbers.variants, key=lambda each: each.converged.mean)
    bounds = fastest.converged.interval
    within = f", 95%: {bounds[0]:.1f} to {bounds[1]:.1f}" if bounds else ""
    answer.say(
        f"Fastest to within a point of its own best: {called(fastest)}, after {fastest.converged.mean:.1f} "
        f"epochs of {numbers.plan.config.train.epochs}{within}."
    )
    spreads = {called(each): each.spread for each in numbers.variants if each.spread is not None}
    if len(spreads) > 1:
        steady, wild = (
            min(spreads, key=lambda name: spreads[name]),
            max(spreads, key=lambda name: spreads[name]),
        )
        answer.say(
            f"Over {numbers.seeds} seeds {steady} varies least ({100 * spreads[steady]:.2f} points of "
            f"standard deviation) and {wild} most ({100 * spreads[wild]:.2f}); so few seeds tell these only "
            "roughly."
        )
    answer.tables = [comparison(numbers)]
    rates = {each.label: rates_of(numbers.plan, each) for each in numbers.variants}
    title = "Learning rate"
    answer.figures = [
        Figure(title, lines(rates, title, y_format=number), list(rates), "Of the first seed."),
        curves(numbers, "Validation accuracy", "val", "accuracy"),
        curves(numbers, "Training loss", "train", "loss"),
        accuracy_figure(numbers),
    ]
    return answer


def _rate(optim: OptimSection, epochs: int, epoch: int, losses: list[float], share: float) -> float:
    return learning_rate(optim, epochs, epoch + share, losses)


def rates_of(plan: StudyPlan, variant: Variant) -> list[tuple[float, float]]:
    """Return points (epochs since the start, learning rate) of a variant's first run."""
    run = variant.runs[0]
    config = run_config(plan.config, run.values, run.name, plan.runs)
    epochs, losses = config.train.epochs, [record["val"]["loss"] for record in run.history]
    points = []
    for epoch in range(len(run.history)):
        rate = partial(_rate, config.optim, epochs, epoch, losses[:epoch])
        points += rate_curve(rate, epoch, epochs)
    return points
