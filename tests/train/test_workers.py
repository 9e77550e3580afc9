from train import workers
from train.workers import workers_with_room


def test_without_room_for_workers_there_are_none_and_a_sentence(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(workers, "SHARED_MEMORY", tmp_path)
    workers_with_room.cache_clear()
    monkeypatch.setattr(workers, "BYTES_A_WORKER", 2**60)
    assert workers_with_room(2) == 0
    assert "--shm-size" in capsys.readouterr().err
    assert workers_with_room(0) == 0
    monkeypatch.setattr(workers, "BYTES_A_WORKER", 1)
    workers_with_room.cache_clear()
    assert workers_with_room(2) == 2
    monkeypatch.setattr(workers, "SHARED_MEMORY", tmp_path / "none")
    assert workers_with_room(2) == 2
    assert not capsys.readouterr().err
    workers_with_room.cache_clear()
