// An activation that the reader types: a parser for formulas in z, and the four Gaussian moments of what it finds.
// The formula becomes a tree of functions of this file; no text is ever run as code.
"use strict";

const Formula = (() => {
  class FormulaError extends Error {}

  function erf(x) {
    const a = Math.abs(x);
    if (!(a < 6)) return Math.sign(x); // NaN stays NaN
    if (a < 3) {
      let term = a;
      let sum = a;
      for (let n = 1; term > 1e-17 * sum; n += 1) {
        term *= (2 * a * a) / (2 * n + 1);
        sum += term;
      }
      return Math.sign(x) * (2 / Math.sqrt(Math.PI)) * Math.exp(-a * a) * sum;
    }
    let fraction = a; // of the continued fraction of erfc, from its end
    for (let n = 60; n >= 1; n -= 1) fraction = a + n / 2 / fraction;
    return Math.sign(x) * (1 - Math.exp(-a * a) / (Math.sqrt(Math.PI) * fraction));
  }

  const softplus = (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
  const step = (x) => (Number.isNaN(x) ? NaN : x >= 0 ? 1 : 0);
  // How many arguments each takes, and what it does with them.
  const FUNCTIONS = {
    abs: [1, 1, Math.abs],
    clip: [3, 3, (x, low, high) => Math.min(Math.max(x, low), high)],
    cos: [1, 1, Math.cos],
    erf: [1, 1, erf],
    exp: [1, 1, Math.exp],
    heaviside: [1, 1, step],
    log: [1, 1, Math.log],
    max: [2, Infinity, Math.max],
    min: [2, Infinity, Math.min],
    relu: [1, 1, (x) => Math.max(x, 0)],
    sigmoid: [1, 1, (x) => 1 / (1 + Math.exp(-x))],
    sign: [1, 1, Math.sign],
    sin: [1, 1, Math.sin],
    softplus: [1, 1, softplus],
    sqrt: [1, 1, Math.sqrt],
    step: [1, 1, step],
    tanh: [1, 1, Math.tanh],
  };
  const CONSTANTS = { e: Math.E, pi: Math.PI };
  const LONGEST = 500;
  const KINDS = [
    ["space", /\s+/y],
    ["number", /(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?/y],
    ["name", /[a-zA-Zπ][a-zA-Z0-9_]*/y],
    ["sign", /\*\*|[-−+*·×/^(),]/y],
  ];
  const SAME = { "−": "-", "·": "*", "×": "*", "**": "^", "π": "pi" };

  function tokensOf(text) {
    const tokens = [];
    for (let at = 0; at < text.length; ) {
      let found = null;
      for (const [kind, pattern] of KINDS) {
        pattern.lastIndex = at;
        const match = pattern.exec(text);
        if (match) {
          found = { kind, text: match[0], at };
          break;
        }
      }
      if (!found) throw new FormulaError(`At character ${at + 1}: “${text[at]}” has no meaning in a formula.`);
      at += found.text.length;
      found.value = SAME[found.text] ?? found.text.toLowerCase();
      if (found.kind !== "space") tokens.push(found);
    }
    tokens.push({ kind: "end", text: "", value: "", at: text.length });
    return tokens;
  }

  // expression = term (± term)*, term = signed (*/ signed)*, signed = ± signed | power, power = atom (^ signed)?
  function parse(text) {
    if (!text.trim()) throw new FormulaError("There is no formula yet: type one in z, such as tanh(z).");
    if (text.length > LONGEST) throw new FormulaError(`A formula may have ${LONGEST} characters, not ${text.length}.`);
    const tokens = tokensOf(text);
    let next = 0;
    const peek = () => tokens[next].value;
    const isSign = (...signs) => tokens[next].kind === "sign" && signs.includes(peek());

    function fail(wanted) {
      const token = tokens[next];
      const found = token.kind === "end" ? "the formula ends" : `there is “${token.text}”`;
      throw new FormulaError(`At character ${token.at + 1}: expected ${wanted}, but ${found}.`);
    }

    function expect(sign) {
      if (!isSign(sign)) fail(`“${sign}”`);
      next += 1;
    }

    function binary(operand, operations) {
      let left = operand();
      while (isSign(...Object.keys(operations))) {
        const operation = operations[tokens[next++].value];
        const [first, second] = [left, operand()];
        left = (z) => operation(first(z), second(z));
      }
      return left;
    }

    const expression = () => binary(term, { "+": (a, b) => a + b, "-": (a, b) => a - b });
    const term = () => binary(signed, { "*": (a, b) => a * b, "/": (a, b) => a / b });

    function signed() {
      if (!isSign("+", "-")) return power();
      const sign = tokens[next++].value;
      const operand = signed();
      return sign === "-" ? (z) => -operand(z) : operand;
    }

    function power() {
      const base = atom();
      if (!isSign("^")) return base;
      next += 1;
      const exponent = signed();
      return (z) => base(z) ** exponent(z);
    }

    function atom() {
      const token = tokens[next];
      if (token.kind === "number") {
        next += 1;
        const number = Number(token.text);
        return () => number;
      }
      if (token.kind === "name") return named();
      if (!isSign("(")) fail("a number, z, a function or “(”");
      next += 1;
      const inside = expression();
      expect(")");
      return inside;
    }

    function named() {
      const { value: name, text: written, at } = tokens[next++];
      if (name === "z") return (z) => z;
      if (Object.hasOwn(CONSTANTS, name)) return () => CONSTANTS[name];
      if (!Object.hasOwn(FUNCTIONS, name)) {
        const known = Object.keys(FUNCTIONS).join(", ");
        throw new FormulaError(
          `At character ${at + 1}: “${written}” is not known here. The variable is z, the functions are ${known}.`,
        );
      }
      const [least, most, call] = FUNCTIONS[name];
      expect("(");
      const given = [expression()];
      while (isSign(",")) {
        next += 1;
        given.push(expression());
      }
      expect(")");
      if (given.length < least || given.length > most) {
        const wanted = `${least}${most > least ? " or more" : ""}`;
        throw new FormulaError(`At character ${at + 1}: ${name} takes ${wanted}, not ${given.length} arguments.`);
      }
      return (z) => call(...given.map((part) => part(z)));
    }

    const whole = expression();
    if (tokens[next].kind !== "end") fail("an operator such as * or the end");
    return whole;
  }

  // Gauss-Legendre nodes and weights on [-1, 1], by Newton's method on the Legendre polynomial.
  function gaussLegendre(count) {
    return Array.from({ length: count }, (_, i) => {
      let x = Math.cos((Math.PI * (i + 0.75)) / (count + 0.5));
      let slope = 1;
      for (let round = 0; round < 50; round += 1) {
        let [before, value] = [1, x];
        for (let k = 2; k <= count; k += 1) [before, value] = [value, ((2 * k - 1) * x * value - (k - 1) * before) / k];
        slope = (count * (x * value - before)) / (x * x - 1);
        const move = value / slope;
        x -= move;
        if (Math.abs(move) < 1e-16) break;
      }
      return { x, weight: 2 / ((1 - x * x) * slope * slope) };
    });
  }

  const NODES = gaussLegendre(16);
  const LIMIT = 13; // as et.gaussian_moments
  const TOLERANCE = 1e-12; // of a panel, relative to E|φ|
  const DEEPEST = 46;
  const MOST_PANELS = 20000;
  const show = (z) => z.toPrecision(3).replace("-", "−");

  function check(value, z) {
    if (Number.isFinite(value)) return value;
    throw new FormulaError(
      `The formula has no finite value at z = ${show(z)}; an activation needs one for every z from −13 to 13.`,
    );
  }

  // The integrals of φ times the four polynomials of Stein's lemma, and of |φ|, times the density, over a panel.
  function panel(phi, low, high) {
    const half = (high - low) / 2;
    const sums = [0, 0, 0, 0, 0];
    for (const { x, weight } of NODES) {
      const z = low + half * (1 + x);
      const squared = z * z;
      const value = check(phi(z), z);
      const share = (half * weight * Math.exp(-squared / 2)) / Math.sqrt(2 * Math.PI);
      sums[0] += share * z * value;
      sums[1] += share * value;
      sums[2] += share * (squared - 1) * value;
      sums[3] += share * ((squared * squared) / 2 - (5 * squared) / 2 + 1) * value;
      sums[4] += share * Math.abs(value);
    }
    return sums;
  }

  // ζ = E[gφ], ϑ₀ = E[φ], ϑ₁ = E[(g² - 1)φ], ϑ₂ = E[(g⁴/2 - 5g²/2 + 1)φ]: by parts, so that φ' is not needed and a
  // kink does no harm; panels are halved until both halves together say what the whole does.
  function moments(phi) {
    for (let z = -LIMIT; z <= LIMIT; z += 0.5) check(phi(z), z);
    const whole = Array.from({ length: 2 * LIMIT }, (_, i) => ({ low: i - LIMIT, high: i + 1 - LIMIT, depth: 0 }));
    for (const part of whole) part.sums = panel(phi, part.low, part.high);
    const scale = whole.reduce((sum, part) => sum + part.sums[4], 0);
    const tails = whole[0].sums.concat(whole[whole.length - 1].sums);
    if (tails.some((sum) => Math.abs(sum) > 1e-9 * scale)) {
      throw new FormulaError("The formula grows so fast that its mean over a Gaussian z does not exist.");
    }
    const total = [0, 0, 0, 0];
    let panels = 0;
    while (whole.length) {
      const { low, high, depth, sums } = whole.pop();
      const middle = (low + high) / 2;
      check(phi(middle), middle);
      const [left, right] = [panel(phi, low, middle), panel(phi, middle, high)];
      const error = Math.max(...sums.map((sum, i) => Math.abs(sum - left[i] - right[i])));
      if (error <= TOLERANCE * scale) {
        for (let i = 0; i < 4; i += 1) total[i] += left[i] + right[i];
      } else if (depth === DEEPEST) {
        throw new FormulaError(`Near z = ${show(middle)} the formula grows without bound: it has no mean.`);
      } else {
        whole.push({ low, high: middle, depth: depth + 1, sums: left });
        whole.push({ low: middle, high, depth: depth + 1, sums: right });
      }
      panels += 1;
      if (panels > MOST_PANELS) {
        throw new FormulaError("The formula changes too quickly with z, or grows without bound: no mean is found here.");
      }
    }
    const [zeta, theta0, theta1, theta2] = total;
    return { zeta, theta0, theta1, theta2 };
  }

  return { FormulaError, functions: Object.keys(FUNCTIONS), moments, parse };
})();
