from trainwright_components.processes.restarts import Restarts


def test_each_failure_in_a_row_waits_twice_as_long_up_to_half_a_minute() -> None:
    restarts, waits = Restarts(), []
    for _ in range(9):
        restarts.note_end(1.0)
        waits.append(restarts.wait_s)
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


def test_a_process_that_lived_long_begins_to_count_anew() -> None:
    restarts = Restarts(first_wait_s=0.1, failures=4)
    assert restarts.is_early(60.0)
    assert not restarts.is_early(61.0)
    restarts.note_end(61.0)
    assert restarts.failures == 1
    assert restarts.wait_s == 0.1
