"""A small network in Keras; runs name it by its path, "fl.examples.diabetes.keras_net:network"."""

import keras


def network(hidden: int = 16, seed: int = 0) -> tuple[keras.Model, keras.losses.Loss]:
    """For patients of shape (n, 10): one value, and its squared error. The same seed, the same weights."""
    first, second = (keras.initializers.GlorotUniform(seed=2 * seed + layer) for layer in range(2))
    model = keras.Sequential(
        [
            keras.layers.Input((10,)),
            keras.layers.Dense(hidden, activation="tanh", kernel_initializer=first),
            keras.layers.Dense(1, kernel_initializer=second),
        ],
        name="diabetes",
    )
    return model, keras.losses.MeanSquaredError()
