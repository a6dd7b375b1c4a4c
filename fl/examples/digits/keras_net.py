"""A small convolutional network in Keras; runs name it by its path, "fl.examples.digits.keras_net:cnn"."""

import itertools

import keras


def cnn(
    channels: int = 8, hidden: int = 32, seed: int = 0, rows: bool = False
) -> tuple[keras.Model, keras.losses.Loss]:
    """For images of shape (n, 8, 8, 1), or `rows` of 64 numbers: scores of ten classes, and their loss.

    The same seed, the same weights.
    """
    seeds = itertools.count(1000 * seed)

    def start() -> keras.initializers.Initializer:
        return keras.initializers.GlorotUniform(seed=next(seeds))

    model = keras.Sequential(
        [
            *(
                [keras.layers.Input((64,)), keras.layers.Reshape((8, 8, 1))]
                if rows
                else [keras.layers.Input((8, 8, 1))]
            ),
            keras.layers.Conv2D(channels, 3, padding="same", activation="relu", kernel_initializer=start()),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(2 * channels, 3, padding="same", activation="relu", kernel_initializer=start()),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(hidden, activation="relu", kernel_initializer=start()),
            keras.layers.Dense(10, kernel_initializer=start()),
        ],
        name="digits",
    )
    return model, keras.losses.SparseCategoricalCrossentropy(from_logits=True)
