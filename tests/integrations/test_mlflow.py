"""MLflow on SQLite, read back."""

import pytest
from logged_runs import expected, recorded

from actstats.integrations import Packet
from actstats.integrations import mlflow as ours
from actstats.integrations._bins import all_bins
from actstats.integrations.mlflow import MLflowFeed

mlflow = pytest.importorskip("mlflow", reason="pip install mlflow-skinny sqlalchemy alembic")
pytest.importorskip("sqlalchemy", reason="MLflow's SQLite store needs it")

pytestmark = [
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated"),  # MLflow's
]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The active run of a new database."""
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    artifacts = (tmp_path / "artifacts").as_uri()
    experiment = mlflow.create_experiment("actstats", artifact_location=artifacts)
    with mlflow.start_run(experiment_id=experiment) as run:
        yield run
    mlflow.set_tracking_uri(None)


def history(run, name):
    kept = mlflow.MlflowClient().get_metric_history(run.info.run_id, name)
    return [(metric.step, metric.value) for metric in kept]


def test_figures_are_metrics_by_our_step(run):
    recorder = recorded(MLflowFeed(strict=True))
    wanted = expected(recorder, "std")
    assert len(wanted) == 15
    for tag, values in wanted.items():
        assert history(run, tag.replace(":", "_")) == values


def test_histograms_and_findings_are_artifacts(run):
    recorder = recorded(MLflowFeed(strict=True))
    uri = f"{run.info.artifact_uri}/actstats"
    for window in recorder.recording.windows:
        path = f"{uri}/histograms/{window.last_step:08}-{window.phase}.json"
        kept = mlflow.artifacts.load_dict(path)
        assert list(kept) == list(window)
        for site, stats in window.items():
            counts, edges = all_bins(stats)
            assert kept[site] == {"counts": counts.tolist(), "edges": edges.tolist()}
    assert "dead" in mlflow.artifacts.load_text(f"{uri}/findings/00000005.txt")


def test_a_run_is_chosen_by_its_id(run):
    mlflow.end_run()
    recorded(MLflowFeed(run.info.run_id, strict=True, histograms=False, findings=False), steps=2)
    assert [step for step, _ in history(run, "actstats/std/train/out")] == [1]


def test_more_metrics_than_it_takes_at_once(run, monkeypatch):
    monkeypatch.setattr(ours, "MOST_METRICS", 7)
    recorder = recorded(MLflowFeed(strict=True, histograms=False, findings=False))
    assert len(history(run, "actstats/std/train/out")) == 3
    for tag, values in expected(recorder, "rms").items():
        assert history(run, tag.replace(":", "_")) == values


def test_names_that_it_refuses_stay_apart():
    feed = MLflowFeed()
    names = [feed._name(tag) for tag in ("a:grad", "a#grad", "a_grad", "a:grad")]
    assert names == ["a_grad", "a_grad_2", "a_grad_3", "a_grad"]


def test_long_names_lose_their_middle(run):
    feed = MLflowFeed(strict=True)
    tags = [f"actstats/rms/train/{'deep.' * 60}{middle}{'er.' * 60}fc" for middle in "ab"]
    feed.send(Packet(7, "train", dict(zip(tags, (1.0, 2.0), strict=True))))
    names = [feed._name(tag) for tag in tags]
    assert [history(run, name) for name in names] == [[(7, 1.0)], [(7, 2.0)]]
    assert all(name.startswith("actstats/rms/train/deep.") for name in names)
