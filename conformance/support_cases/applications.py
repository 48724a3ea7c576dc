"""Applications of Keras without weights, small."""

import numpy as np

from support_cases.registry import Case

SMALL = {"InceptionResNetV2": 75, "InceptionV3": 75, "Xception": 71, "NASNetMobile": 64, "NASNetLarge": 64}
NAMES = (
    "ConvNeXtTiny,DenseNet121,EfficientNetB0,EfficientNetV2B0,EfficientNetV2S,InceptionResNetV2,InceptionV3,MobileNet,"
    "MobileNetV2,MobileNetV3Large,MobileNetV3Small,NASNetLarge,NASNetMobile,RegNetX002,RegNetY002,ResNet50,ResNet50V2,"
    "ResNetRS50,VGG16,VGG19,Xception"
).split(",")


def application(name):
    size = SMALL.get(name, 64)

    def build(k):
        make = getattr(k.applications, name)
        model = make(weights=None, include_top=False, input_shape=(size, size, 3), pooling="avg")
        settle(model, size)
        return model

    return [Case(build, seeded=False)]


def settle(model, size):
    """Gives batch normalizations the statistics of what they receive; else deep networks blow up or fade away."""
    random = np.random.default_rng(6)
    normalizations = [layer for layer in model.layers if hasattr(layer, "moving_mean")]
    for layer in normalizations:
        # Offsets above the scales keep most units active, as training does.
        if layer.scale:
            layer.gamma.assign(random.uniform(0.4, 0.8, layer.gamma.shape))
        if layer.center:
            layer.beta.assign(random.normal(1.0, 0.3, layer.beta.shape))
    kept = [(layer, layer.momentum) for layer in normalizations]
    for layer in normalizations:
        layer.momentum = 0.0
    # As random_inputs draws them.
    model(random.normal(0, 1, (16, size, size, 3)).astype(np.float32), training=True)
    for layer, momentum in kept:
        layer.momentum = momentum


CASES = {name: application(name) for name in NAMES}
