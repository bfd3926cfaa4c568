"""The table of all constructs tells of every field that the installed kfp knows, and names tests that there are."""

from tests.pipelines.engine.constructs import (
    ALL_OTHERS,
    is_test,
    messages,
    name_of,
    names_of_tests,
    read_table,
    told_of,
)


def test_every_field_of_a_compiled_pipeline_has_a_test_or_a_reason() -> None:
    table = read_table()
    untold = [
        f"{name_of(message)}.{field.name}"
        for message in messages()
        for field in message.fields
        if field.name not in told_of(table, message)
    ]
    assert untold == []


def test_the_table_tells_of_nothing_that_there_is_not() -> None:
    fields = {name_of(message): {field.name for field in message.fields} for message in messages()}
    for message, told in read_table().items():
        assert told.keys() - fields[message] <= {ALL_OTHERS}, message


def test_the_tests_that_the_table_names_are_there() -> None:
    named = {text for told in read_table().values() for text in told.values() if is_test(text)}
    missing = [each for each in named if each.partition("::")[2] not in names_of_tests(each.partition("::")[0])]
    assert missing == []
