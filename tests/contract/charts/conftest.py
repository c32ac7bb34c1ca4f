from tests.rendering.chart import default, full, helm, render

__all__ = ["default", "full", "helm", "render"]
