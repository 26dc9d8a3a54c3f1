"""Reference pages say what docstrings and parameters say."""

from sample_sections import Model, adapter_kinds

from declarlm.core.reference import parameters, reference


def test_page_of_a_registry_has_a_heading_a_docstring_and_a_table_for_each_plugin():
    assert reference(adapter_kinds) == (
        "## lora\n"
        "\n"
        "Train a low-rank update.\n"
        "\n"
        "| parameter | takes | default | |\n"
        "|---|---|---|---|\n"
        "| `name` | a string or null | `null` | Name to tell several apart. |\n"
        "| `r` | an integer at least 1 | `8` | Rank of the update. |\n"
        "| `alpha` | a number greater than 0 or null | `null` | Scale of the update. |\n"
        '| `target_modules` | a string or a list of strings | `"auto"` | Layers to change. |\n'
        "\n"
        "## prompt\n"
        "\n"
        "Train a few vectors in front of the prompt.\n"
        "\n"
        "| parameter | takes | default | |\n"
        "|---|---|---|---|\n"
        "| `name` | a string or null | `null` | Name to tell several apart. |\n"
        "| `num_tokens` | an integer at least 1 | required | Vectors in front of the prompt. |"
    )


def test_table_goes_into_the_sections_of_a_section():
    rows = parameters(Model).split("\n")
    assert "| `trainer.learning_rate` | a number greater than 0 or 'auto' | `\"auto\"` | Step size. |" in rows
    assert "| `adapters` | a list of adapters | `[]` | Several of them. |" in rows
    assert (
        "| `encoder_adapter` | the name of an adapter or a mapping with it under 'type' | `\"lora\"` "
        "| What is trained on the encoder. |" in rows
    )
