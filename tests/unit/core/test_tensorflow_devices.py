"""A Keras model computes where the policy says, and there alone."""

import subprocess
import sys

SCRIPT = """
import tensorflow as tf
cpus = [tf.config.LogicalDeviceConfiguration()] * 3
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], cpus)
device, listed = tf.device, tf.config.list_logical_devices
tf.config.list_logical_devices = lambda kind=None: listed("CPU") if kind == "GPU" else listed(kind)
tf.device = lambda name: device(name.replace("GPU", "CPU") if isinstance(name, str) else name)

from fl.core.device import DevicePolicy
from tests.unit.core.tensorflow_zoo import ZOO

case = ZOO["mlp"]
model, batch = case.model(), case.batch()
model.update_device_policy(DevicePolicy(idx=2))
gradient = model.compute_batch_gradients(batch)
model.apply_updates(gradient)
vectors = [gradient, model.compute_batch_gradients(batch, 1.0), model.get_weights(), model.trainable_view()]
print(*(tensor.device.rpartition(":")[2] for tensor in [*(one.flat for one in vectors), model.forward(batch)]))
"""


def test_gradients_weights_and_outputs_are_on_the_device_of_the_policy() -> None:
    # Given three CPUs in the place of GPUs, in a process of their own, and a model that is sent to the last one
    ran = subprocess.run([sys.executable, "-c", SCRIPT], check=True, capture_output=True, text=True)
    # Then whatever it gives is there
    assert ran.stdout.split() == ["2"] * 5
