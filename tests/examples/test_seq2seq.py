from pathlib import Path

import pandas as pd
import pytest
from seq2seq_bases import save_tiny_t5

from declarlm import DeclarLM

FOLDER = Path(__file__).parents[2] / "examples" / "seq2seq"
ROWS = pd.DataFrame(
    [
        {"text": f"{name} in the {area} serves {food} food", "food": food, "area": area, "name": name}
        for name in ("Mill", "Vaults", "Wildwood")
        for area in ("riverside", "city")
        for food in ("Indian", "French")
    ]
    * 2
)


@pytest.mark.filterwarnings("ignore::declarlm.DeclarlmWarning")
def test_an_encoder_decoder_over_8_bits_trains_and_answers(tmp_path):
    # A real base has its own rate; this one starts from random weights, of which queries and values are a small part.
    more = {"base_model": save_tiny_t5(tmp_path / "t5"), "trainer.epochs": 6, "trainer.learning_rate": 0.03}
    result = DeclarLM(FOLDER / "config.yaml", overrides=more).train(ROWS, output=tmp_path)
    losses = result.history["training_loss"]
    assert losses.iloc[-1] < 0.8 * losses.iloc[0]
    predicted = DeclarLM.load(result.directory).predict({"text": ["Vaults in the city serves French food"]})
    assert predicted["food_predictions"].isin(["French", "Indian"]).all()
    assert predicted["area_probabilities_city"].iloc[0] + predicted["area_probabilities_riverside"].iloc[
        0
    ] == pytest.approx(1.0, abs=1e-5)
    assert isinstance(predicted["name_predictions"].iloc[0], str)
