"""The layout pass: a value keeps the layout of the step that makes it; readers get conversions to other layouts."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from mocha_core.compile.kernel import Kernel
from mocha_core.compile.layout import PLAIN, Convert, Layout
from mocha_core.graph.plan import Call, Half, Plan, Section, Step, forward_step
from mocha_core.graph.value import Role, Value


@dataclass
class Arrangement:
    """The steps, with conversions between them, and the layout of each value."""

    steps: list[Step] = field(default_factory=list)
    homes: dict[Value, Layout] = field(default_factory=dict)

    def home(self, value: Value) -> Layout:
        return self.homes.get(value.root, PLAIN)


def arrange(plan: Plan, steps: list[Step], kernels: Mapping[Call, Kernel]) -> Arrangement:
    """Choose every value's layout and insert the conversions.

    Values that Python or another program sees (parameters, states, cells) and values with views are plain. A
    gradient has the layout of its blob. Parameters are packed once per change if no step of the program writes
    them, otherwise in every run.
    """
    return _LayoutPass(plan, steps, kernels).run()


class _LayoutPass:
    def __init__(self, plan: Plan, steps: list[Step], kernels: Mapping[Call, Kernel]) -> None:
        self.steps = steps
        self.kernels = kernels
        self.result = Arrangement()
        self.packing: list[Step] = []
        self.copies: dict[Value, dict[tuple[Layout, tuple[int, ...]], Value]] = {}
        self.followed: dict[Call, Layout] = {}
        self.primal = {gradient: value for value, gradient in plan.gradients.items()}
        operands = [v for step in steps for v in (*step.ins, *step.outs) if v is not None]
        self.viewed = {v.root for v in operands if v.base is not None}
        self.read = {v.root for step in steps for v in step.reads}
        self.written = {v.root for step in steps for v in step.writes}

    def run(self) -> Arrangement:
        for step in self.steps:
            self.add_step(step)
        self.result.steps[:0] = self.packing
        return self.result

    def add_step(self, step: Step) -> None:
        layouts = self.operand_layouts(step)
        ins = tuple(
            None if v is None else self.obtain(v, want, step)
            for v, want in zip(step.ins, layouts[: len(step.ins)], strict=True)
        )
        given = layouts[len(step.ins) :]
        outs = [None if v is None or self.unwanted(step, i, v) else v for i, v in enumerate(step.outs)]
        add = [False] * len(outs)
        first: dict[Value, bool] = {}
        for out, adds in zip(step.outs, step.add, strict=True):
            if out is not None:
                first.setdefault(out.root, adds)
        after: list[Step] = []
        # If a step writes one value twice (x * x), write the output without conversion first; add the other to it.
        for direct in (True, False):
            for i, out in enumerate(outs):
                if out is None or (self.settle(out, given[i]) is given[i]) is not direct:
                    continue
                self.copies.pop(out.root, None)
                adds, first[out.root] = first[out.root], True
                if direct:
                    add[i] = adds
                else:
                    made = Value(f"{out.name}@{given[i]}", out.shape, out.dtype, _short_lived(out))
                    self.result.homes[made] = given[i]
                    outs[i] = made
                    home = self.result.home(out)
                    after += self.conversion(made, out, given[i], home, adds, step.section)
        self.result.steps.append(replace(step, ins=ins, outs=tuple(outs), add=tuple(add)))
        self.result.steps += after

    def unwanted(self, step: Step, index: int, out: Value) -> bool:
        """Whether an output is saved for backward but read by no step, so that it need not be computed."""
        call = step.call
        visible = len(call.outs) - len(call.op.updates) - call.op.saved
        saved = step.half is Half.FORWARD and visible <= index < visible + call.op.saved
        return saved and out.root not in self.read and not out.keep

    def operand_layouts(self, step: Step) -> list[Layout]:
        """The layouts the step's kernel wants for `ins` and then `outs`."""
        call, layouts = step.call, self.kernels[step.call].layouts
        if layouts.follow:
            return self.follow(step)
        x = [layouts.of_in(i, step.half is Half.BACKWARD) for i in range(len(call.ins))]
        results = len(call.outs) - len(call.op.updates)
        y = [layouts.of_out(i) for i in range(results)] + [x[i] for i in call.op.updates]
        if step.half is Half.FORWARD:
            return x + y
        return y + x + y + [layouts.of_gradient(i) for i in range(len(call.ins))]

    def follow(self, step: Step) -> list[Layout]:
        operands = [*step.ins, *step.outs]
        if step.call not in self.followed:
            first = next((v for v in step.ins if v is not None and _has_layout(v)), None)
            self.followed[step.call] = PLAIN if first is None else self.result.home(first)
        layout = self.followed[step.call]
        return [layout if v is not None and _has_layout(v) else PLAIN for v in operands]

    def settle(self, value: Value, given: Layout) -> Layout:
        """The layout of the value; the first step that writes it decides."""
        root = value.root
        if root not in self.result.homes:
            if not root.transient or root in self.viewed:
                home = PLAIN
            elif root.role is Role.GRADIENT and self.primal.get(root) in self.result.homes:
                home = self.result.home(self.primal[root])  # if fusion has not removed that blob
            else:
                home = given
            self.result.homes[root] = home
        return self.result.homes[root]

    def obtain(self, value: Value, want: Layout, step: Step) -> Value:
        """The value in the wanted layout; it is converted at most once after each change."""
        home = self.result.home(value)
        if want is home:
            return value
        copies = self.copies.setdefault(value.root, {})
        if (want, value.shape) not in copies:
            persistent = value.root.role in (Role.PARAMETER, Role.STATE) and value.root not in self.written
            copy = Value(f"{value.name}@{want}", value.shape, value.dtype, _short_lived(value))
            self.result.homes[copy] = want
            steps = self.conversion(value, copy, home, want, False, Section.PACK if persistent else step.section)
            (self.packing if persistent else self.result.steps).extend(steps)
            copies[want, value.shape] = copy
        return copies[want, value.shape]

    def conversion(
        self, value: Value, into: Value, source: Layout, target: Layout, add: bool, section: Section
    ) -> list[Step]:
        """Steps that convert from one layout to another; they go through the plain one if neither is plain."""
        if source is not PLAIN and target is not PLAIN:
            plain = Value(f"{value.name}@plain", value.shape, value.dtype, _short_lived(value))
            first = self.conversion(value, plain, source, PLAIN, False, section)
            return first + self.conversion(plain, into, PLAIN, target, add, section)
        gradient = value.root.role in (Role.GRADIENT, Role.PARAMETER_GRADIENT)
        call = Call(Convert(source, target, gradient), (value,), (into,), "(layout)")
        return [replace(forward_step(call, section), add=(add,))]


def _short_lived(value: Value) -> Role:
    gradient = value.root.role in (Role.GRADIENT, Role.PARAMETER_GRADIENT)
    return Role.GRADIENT if gradient else Role.BLOB


def _has_layout(value: Value) -> bool:
    return value.transient and len(value.shape) > 0
