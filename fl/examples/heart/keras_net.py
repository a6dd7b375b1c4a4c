"""A small network in Keras; runs name it by its path, "fl.examples.heart.keras_net:network"."""

import keras

from fl.examples.heart.schema import FEATURES


def network(hidden: int = 16, seed: int = 0) -> tuple[keras.Model, keras.losses.Loss]:
    """For patients of shape (n, features): the logit of having the disease, and its loss.

    The same seed, the same weights.
    """
    first, second = (keras.initializers.GlorotUniform(seed=2 * seed + layer) for layer in range(2))
    model = keras.Sequential(
        [
            keras.layers.Input((len(FEATURES),)),
            keras.layers.Dense(hidden, activation="relu", kernel_initializer=first),
            keras.layers.Dense(1, kernel_initializer=second),
        ],
        name="heart",
    )
    return model, keras.losses.BinaryCrossentropy(from_logits=True)
