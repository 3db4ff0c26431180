"""Operations that move elements, by numpy's own."""

from __future__ import annotations

import numpy as np

from mil_programs import MB, Case, normal

X = normal(2, 3, 4)
PLACES = np.array([[2, 0], [1, 2]], np.int32)
ALONG = np.array([[[0, 2, 1, 1]], [[2, 2, 0, 1]]], np.int32)


def sliced(name, truth, **options):
    return Case("slice_by_index", lambda x, real: MB.slice_by_index(x=x, **options), truth, {"x": X}, name=name)


def padding(mode, sides, truth):
    def build(x, real):
        return MB.pad(x=x, pad=[side for pair in sides for side in pair], mode=mode, constant_val=real(1.5))

    return Case("pad", build, truth, {"x": X}, name=f"{mode} {len(sides)}")


SHAPE = [
    Case("reshape", lambda x, real: MB.reshape(x=x, shape=[0, -1, 2]), lambda x: x.reshape(2, 6, 2), {"x": X}),
    Case("reshape", lambda x, real: MB.reshape(x=x, shape=[3, 2, 4]), lambda x: x.reshape(3, 2, 4), {"x": X}),
    Case("transpose", lambda x, real: MB.transpose(x=x, perm=[2, 0, 1]), lambda x: x.transpose(2, 0, 1), {"x": X}),
    Case("expand_dims", lambda x, real: MB.expand_dims(x=x, axes=[0, -1]), lambda x: x[None, ..., None], {"x": X}),
    Case("expand_dims", lambda x, real: MB.expand_dims(x=x, axes=[1, 2]), lambda x: x[:, None, None], {"x": X},
         name="inside"),
    Case("squeeze", lambda x, real: MB.squeeze(x=x, axes=[-1, 0]), lambda x: x[0, ..., 0], {"x": X[None, ..., None]}),
    Case("squeeze", lambda x, real: MB.squeeze(x=x), lambda x: x[0, ..., 0], {"x": X[None, ..., None]}, name="all"),
    Case("concat", lambda x, y, real: MB.concat(values=[x, y, x], axis=1),
         lambda x, y: np.concatenate([x, y, x], 1), {"x": X, "y": X[:, :1] * 2}),
    Case("stack", lambda x, y, real: MB.stack(values=[x, y], axis=1), lambda x, y: np.stack([x, y], 1),
         {"x": X, "y": -X}),
    Case("split", lambda x, real: MB.split(x=x, num_splits=2, axis=-1), lambda x: np.split(x, 2, -1), {"x": X}),
    Case("split", lambda x, real: MB.split(x=x, split_sizes=[1, 2], axis=1), lambda x: np.split(x, [1], 1), {"x": X},
         name="sizes"),
    sliced("plain", lambda x: x[0:1, 1:3, 2:4], begin=[0, 1, 2], end=[1, 3, 4]),
    sliced("negative", lambda x: x[:, -2:-1, -3:], begin=[0, -2, -3], end=[0, -1, 0],
           begin_mask=[True, False, False], end_mask=[True, False, True]),
    sliced("stride", lambda x: x[:, :, ::3], begin=[0, 0, 0], end=[2, 3, 4], stride=[1, 1, 3]),
    sliced("backwards", lambda x: x[:, ::-1], begin=[0, 0, 0], end=[0, 0, 0], stride=[1, -1, 1],
           begin_mask=[True] * 3, end_mask=[True] * 3),
    sliced("squeezed", lambda x: x[:, 1, :3], begin=[0, 1, 0], end=[2, 0, 3], squeeze_mask=[False, True, False]),
    Case("slice_by_size", lambda x, real: MB.slice_by_size(x=x, begin=[0, 1, 1], size=[2, -1, 2]),
         lambda x: x[:, 1:, 1:3], {"x": X}),
    Case("gather", lambda x, i, real: MB.gather(x=x, indices=i, axis=1), lambda x, i: np.take(x, i, 1),
         {"x": X, "i": PLACES}),
    Case("gather", lambda x, real: MB.gather(x=x, indices=np.array([3, -1, 0], np.int32), axis=-1),
         lambda x: np.take(x, [3, 3, 0], 2), {"x": X}, name="constant, from behind"),
    Case("gather_along_axis", lambda x, i, real: MB.gather_along_axis(x=x, indices=i, axis=1),
         lambda x, i: np.take_along_axis(x, i.astype(np.int64), 1), {"x": X, "i": ALONG}),
    Case("tile", lambda x, real: MB.tile(x=x, reps=[2, 1, 3]), lambda x: np.tile(x, (2, 1, 3)), {"x": X}),
    Case("shape", lambda x, real: MB.shape(x=x), lambda x: np.array(x.shape, np.int32), {"x": X}),
    padding("constant", [(0, 1), (2, 0)], lambda x: np.pad(x, [(0, 0), (0, 1), (2, 0)], constant_values=1.5)),
    padding("reflect", [(2, 1)], lambda x: np.pad(x, [(0, 0), (0, 0), (2, 1)], mode="reflect")),
    padding("reflect", [(1, 2), (3, 1)], lambda x: np.pad(x, [(0, 0), (1, 2), (3, 1)], mode="reflect")),
    padding("replicate", [(1, 0), (0, 2)], lambda x: np.pad(x, [(0, 0), (1, 0), (0, 2)], mode="edge")),
]  # fmt: skip
