"""Keywords of `EventDPC.reconstruct`: which method they ask for, and what does not fit it."""

from __future__ import annotations

import warnings
from typing import Any

from ..errors import ParameterError
from ..methods.dpc import Descent, Filters, State
from ..parameters import parse_flag

_STEP_SIZE = Descent.step_size
#: Settings of the iterations, with the values that ask for nothing. A direct solution starts
#: afresh, as `reset=True` says.
_ITERATIONS: dict[str, tuple[Any, ...]] = {
    "max_iter": (Descent.max_iter,),
    "step_size": (None, _STEP_SIZE),
    "stopping_criterion": (Descent.stopping_criterion,),
    "backtrack": (Descent.backtrack,),
    "store_iterations": (False,),
    "reset": (None, True),
}
_BOUNDARY = "mirror"


def choose_method(method: str | None, boundary: str, **iterations: Any) -> str:
    """Return the method that is asked for by name, or by a setting of the iterations.

    Parameters
    ----------
    method : {"direct", "iterative"} or None
    boundary : str
        Of the direct method.
    **iterations
        Settings of the iterative one.

    Raises
    ------
    ParameterError
        If the method is unknown, or settings belong to the other one.
    """
    asked = {k: v for k, v in iterations.items() if v not in _ITERATIONS[k]}
    chosen = method
    if method is None:
        chosen = "iterative" if asked else "direct"
    if chosen == "direct":
        if asked:
            raise ParameterError(
                f'{_shown(asked)} would have no effect with method="direct", which has no '
                'iterations; leave it out, or give method="iterative"'
            )
        return "direct"
    if chosen != "iterative":
        raise ParameterError(f'method is {method!r}; it must be "direct" or "iterative"')
    if boundary != _BOUNDARY:
        by = f" (which {_shown(asked)} asks for)" if method is None else ""
        raise ParameterError(
            f'boundary={boundary!r} would have no effect with method="iterative"{by}, whose scan '
            'is padded: preprocess(padding_factor=...); leave it out, or give method="direct"'
        )
    return "iterative"


def _shown(settings: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in settings.items())


def choose_filters(filters: Filters, gaussian_filter: bool, butterworth_filter: bool) -> Filters:
    """Return the filters that are switched on."""
    gaussian = parse_flag(gaussian_filter, "gaussian_filter")
    butterworth = parse_flag(butterworth_filter, "butterworth_filter")
    return Filters(
        filters.q_lowpass if butterworth else None,
        filters.q_highpass if butterworth else None,
        filters.butterworth_order,
        filters.gaussian_filter_sigma if gaussian else None,
    )


def continued(state: State | None, reset: bool | None) -> State | None:
    """Return the state to go on from; with reset None say so as py4DSTEM does.

    Raises
    ------
    ParameterError
        If `reset` is neither a truth value nor None.
    """
    if reset is not None and parse_flag(reset, "reset"):
        return None
    if state is not None and reset is None:
        warnings.warn(
            "Continuing reconstruction from previous result. Use reset=True for a fresh start.",
            UserWarning,
            stacklevel=4,
        )
    return state


def first_step(step_size: float | None, state: State | None) -> float:
    """Return the given step size, or that with which the iterations stopped, or the default."""
    if step_size is not None:
        return step_size
    return _STEP_SIZE if state is None else state.step_size


def refuse_angles(rotation_angles_deg: Any) -> None:
    """Refuse py4DSTEM's trial angles, which a closed form has no use for."""
    if rotation_angles_deg is not None:
        raise ParameterError(
            "rotation_angles_deg is not used: the rotation is found in closed form; leave it "
            "out, or give force_com_rotation"
        )


def parse_plots(center_of_mass: Any, rotation: Any, options: dict[str, Any]) -> str:
    """Return which fields are to be plotted: "", "default" or "all".

    Raises
    ------
    ParameterError
        If the choice is none of py4DSTEM's, or options are given where nothing is plotted.
    """
    known = center_of_mass is None or center_of_mass in (False, True, "default", "all")
    if not known:
        raise ParameterError(
            f'plot_center_of_mass is {center_of_mass!r}; it must be False, True, "default" or "all"'
        )
    if not (parse_flag(rotation, "plot_rotation") or center_of_mass) and options:
        raise ParameterError(
            f"preprocess() was given {_shown(options)}, which it knows for pictures only; leave it "
            "out, or ask for pictures with plot_center_of_mass or plot_rotation"
        )
    return "default" if center_of_mass in (True, 1) else center_of_mass or ""
