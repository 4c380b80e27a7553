ml_config = {
    "train": {
        "epochs": 1,
        "batch_size": 8,
        "optimizer": {"name": "Adam", "args": {"lr": 1e-3}},
        "lr_scheduler": {"name": "LambdaLR", "args": {"lr_lambda": lambda step: 0.9**step}},
    },
}
