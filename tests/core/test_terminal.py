"""A person's terminal shows what concerns him."""

import subprocess
import sys
from pathlib import Path

from declarlm.core.terminal import console

PROGRAM = """
from declarlm.core.terminal import quiet_libraries
quiet_libraries()
import os, torch, peft, bitsandbytes
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
folder = {folder!r}
tokenizer = AutoTokenizer.from_pretrained(folder)
ids = torch.tensor([tokenizer("word " * 600)["input_ids"][:4]])
for quantization in (None, BitsAndBytesConfig(load_in_4bit=True), BitsAndBytesConfig(load_in_8bit=True)):
    model = AutoModelForCausalLM.from_pretrained(folder, quantization_config=quantization)
    for module in model.modules():
        if isinstance(module, bitsandbytes.nn.Linear4bit):
            module.support_avx512bf16_for_cpu = False
    config = peft.LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM")
    model = peft.get_peft_model(model, config)
    model.enable_input_require_grads()
    model(ids, labels=ids).loss.backward()
    model.generate(input_ids=ids, max_new_tokens=2, do_sample=False, temperature=0.5)
print(os.environ["HF_HUB_DISABLE_TELEMETRY"], os.environ["DO_NOT_TRACK"])
"""


def test_loading_and_training_print_nothing_and_telemetry_is_off(stories: str, tmp_path: Path):
    program = PROGRAM.format(folder=stories)
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert (result.stdout, result.stderr) == ("1 1\n", "")


def test_console_prints_brackets_as_they_are(capsys):
    console().print("input_features[0] and [intent] :smile:")
    assert capsys.readouterr() == ("", "input_features[0] and [intent] :smile:\n")
