"""Folders of 002 §4.2 and §4.3: adapters and quantised models."""

from tests.conformance.entry import Entry

_ADAPTER = "tests/nn/test_adapters.py::test_the_folder_has_the_files_of_the_spec"
_QUANTISED = "tests/nn/test_quantised.py::test_the_folder_has_the_files_of_the_spec"

ENTRIES = [
    *(
        Entry(
            f"002 lora-adapter/{name}", line, f"{what}, beside the others", "studio.nn.adapters:write_adapter", _ADAPTER
        )
        for line, name, what in (
            (281, "adapter_config.json", "settings in PEFT's names"),
            (282, "adapter_model.safetensors", "weights in PEFT's names"),
            (283, "README.md", "model card"),
        )
    ),
    *(
        Entry(f"002 quantized-model/{name}", line, what, "studio.nn.quantised:write_quantised", _QUANTISED)
        for line, name, what in (
            (290, "config.json", "architecture"),
            (291, "generation_config.json", "generation defaults"),
            (292, "model.safetensors", "int8 weights and their scales"),
            (293, "quant_config.json", "method, bits, granularity"),
            (294, "tokenizer.json", "tokenizer"),
            (295, "tokenizer_config.json", "its settings and chat template"),
        )
    ),
]
