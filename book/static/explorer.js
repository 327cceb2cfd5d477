// The explorer: controls choose a run and a step of it, Vega-Lite draws it, a sentence says it. Its second part computes
// the moments of an activation that the reader types (formula.js).
"use strict";

(() => {
  const NETWORK = "#0072B2";
  const LINEAR = "#D55E00";
  const MODELS = { network: "network", linear: "linear model" };
  const SOLID = [1, 0];
  const DASHED = [6, 4];
  const CONFIG = {
    aria: false, // the place of each plot has a description of its own
    mark: { aria: false },
    background: null,
    view: { stroke: null },
    axis: {
      domainColor: "currentColor",
      gridColor: "currentColor",
      gridOpacity: 0.12,
      labelColor: "currentColor",
      labelFontSize: 12,
      tickColor: "currentColor",
      titleColor: "currentColor",
      titleFontSize: 12,
      titleFontWeight: "normal",
    },
  };
  const colour = {
    field: "model",
    type: "nominal",
    legend: null,
    scale: { domain: Object.keys(MODELS), range: [NETWORK, LINEAR] },
  };
  // Steps on a logarithmic axis that has room for step 0.
  const steps = {
    field: "step",
    type: "quantitative",
    title: "step",
    scale: { type: "symlog", constant: 1 },
    axis: { values: [0, 1, 3, 10, 30, 100, 300, 1000, 3000, 10000, 30000], grid: false, labelOverlap: true },
  };
  const rule = (name, mark) => ({
    data: { name },
    mark: { type: "rule", color: "currentColor", ...mark },
    encoding: { x: steps },
  });

  function overTime(title, dashes, y) {
    const parts = Object.keys(dashes);
    const tooltip = [
      { field: "step", type: "quantitative" },
      { field: "model", type: "nominal" },
      { field: "part", type: "nominal" },
      { field: "value", type: "quantitative", format: ".4~g" },
    ];
    const value = { field: "value", type: "quantitative", title, ...y };
    return {
      data: { name: "curves" },
      layer: [
        rule("early", { strokeDash: DASHED, opacity: 0.8 }),
        rule("now", { strokeWidth: 6, opacity: 0.25 }),
        {
          mark: { type: "line", clip: true },
          encoding: {
            x: steps,
            y: value,
            color: colour,
            detail: { field: "point", type: "nominal" },
            strokeDash: {
              field: "part",
              type: "nominal",
              legend: null,
              scale: { domain: parts, range: parts.map((part) => dashes[part][0]) },
            },
            strokeWidth: {
              field: "part",
              type: "ordinal",
              legend: null,
              scale: { domain: parts, range: parts.map((part) => dashes[part][1]) },
            },
          },
        },
        {
          data: { name: "marked" },
          mark: { type: "point", filled: true, size: 60, opacity: 1 },
          encoding: { x: steps, y: value, color: colour, tooltip },
        },
      ],
    };
  }

  const LOGARITHMIC = { scale: { type: "log", nice: false }, axis: { tickCount: 4, format: "~g", grid: false } };
  const SPECS = {
    losses: overTime("loss", { train: [SOLID, 2.5], test: [DASHED, 1.5] }, LOGARITHMIC),
    outputs: overTime("output", { network: [SOLID, 2.5], linear: [DASHED, 2.5] }, { axis: { tickCount: 5 } }),
    residual: overTime(
      "root mean square",
      { inside: [SOLID, 2.5], outside: [DASHED, 1.5] },
      { ...LOGARITHMIC, scale: { type: "log", domainMin: 1e-3, nice: false } },
    ),
    spectra: {
      data: { name: "spectra" },
      mark: { type: "point", size: 45, opacity: 1 },
      encoding: {
        x: {
          field: "index",
          type: "quantitative",
          title: "number of the eigenvalue",
          scale: { type: "log", domainMin: 0.9, nice: false },
          axis: { values: [1, 2, 5, 10, 20, 50, 100], grid: false, format: "~g" },
        },
        y: {
          field: "value",
          type: "quantitative",
          title: "eigenvalue / n",
          ...LOGARITHMIC,
        },
        color: colour,
        fill: {
          field: "model",
          type: "nominal",
          legend: null,
          scale: { domain: Object.keys(MODELS), range: [NETWORK, "transparent"] },
        },
        tooltip: [
          { field: "model", type: "nominal" },
          { field: "index", type: "quantitative" },
          { field: "value", type: "quantitative", format: ".4~g" },
        ],
      },
    },
    formula: {
      data: { name: "curves" },
      mark: { type: "line", strokeWidth: 2.5 },
      encoding: {
        x: { field: "z", type: "quantitative", axis: { grid: false } },
        y: { field: "value", type: "quantitative", title: "φ(z)", axis: { tickCount: 5 } },
        color: { ...colour, scale: { domain: ["phi", "line"], range: [NETWORK, LINEAR] } },
        strokeDash: {
          field: "model",
          type: "nominal",
          legend: null,
          scale: { domain: ["phi", "line"], range: [SOLID, DASHED] },
        },
      },
    },
  };

  const digits = (number, count = 3) => {
    if (number === 0) return "0";
    const size = Math.abs(number);
    const text = size >= 1e-3 && size < 1e6 ? String(Number(number.toPrecision(count))) : number.toExponential(count - 1);
    return text.replaceAll("-", "−");
  };

  // Draws a plot in its place at the first call, with data by their names; later calls change data. A scale without data
  // would have no domain, so nothing is drawn before.
  function plot(root, name) {
    const place = root.querySelector(`[data-plot="${name}"]`);
    place.setAttribute("role", "img");
    let waiting = {};
    let view = null;
    let started = false;
    const put = () => {
      for (const [data, rows] of Object.entries(waiting)) view.data(data, rows);
      waiting = {};
      view.runAsync();
    };
    function start(datasets) {
      started = true;
      const size = { width: place.clientWidth, height: 210, autosize: { type: "fit-x", contains: "padding" } };
      const options = { actions: false, ast: true, config: CONFIG, renderer: "svg" }; // ast: no code from text
      vegaEmbed(place, { ...SPECS[name], ...size, datasets }, options).then((embedded) => {
        view = embedded.view;
        put();
        new ResizeObserver(() => view.width(place.clientWidth).runAsync()).observe(place);
      });
    }
    return (data, label) => {
      place.setAttribute("aria-label", label);
      if (!started) return start(data);
      Object.assign(waiting, data);
      if (view) put();
    };
  }

  // Where scripts run, the sentence that says what would be here makes place for it.
  function unveil(root) {
    root.previousElementSibling.remove();
    root.hidden = false;
  }

  function startRuns(root) {
    const data = JSON.parse(document.getElementById("explorer-runs").textContent);
    const form = root.querySelector("form");
    const slider = form.querySelector("input[type=range]");
    const says = root.querySelector(".explorer-says");
    unveil(root);
    const plots = Object.fromEntries(["losses", "outputs", "residual", "spectra"].map((name) => [name, plot(root, name)]));
    const first = Object.values(data.runs)[0];
    const end = first.steps.indexOf(first.early); // the same for all runs
    slider.value = end;
    root.style.setProperty("--early", `${(100 * end) / Number(slider.max)}%`);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", (event) => show(event.target === slider));

    function curvesOf(run, parts) {
      const rows = [];
      for (const model of Object.keys(MODELS)) {
        for (const part of parts) {
          run[model][part].forEach((value, i) => rows.push({ step: run.steps[i], model, part, point: part, value }));
        }
      }
      return rows;
    }

    function outputsOf(run) {
      return Object.keys(MODELS).flatMap((model) =>
        run[model].points.flatMap((values, point) =>
          values.map((value, i) => ({ step: run.steps[i], model, part: model, point, value })),
        ),
      );
    }

    function spectraOf(run) {
      return Object.keys(MODELS).flatMap((model) =>
        run.spectra[model].map((value, i) => ({ index: i + 1, model, value })),
      );
    }

    // Where a curve leaves the axis at its lower end, it is drawn no further.
    const above = (rows, least) => rows.filter((row) => row.value >= least);

    function show(sameRun) {
      const chosen = new FormData(form);
      const run = data.runs[["activation", "dim", "width", "trained"].map((name) => chosen.get(name)).join("/")];
      const step = run.steps[Number(slider.value)];
      const all = {
        losses: curvesOf(run, ["train", "test"]),
        outputs: outputsOf(run),
        residual: above(curvesOf(run, ["inside", "outside"]), 1e-3),
      };
      const [text, when] = sentence(run, Number(slider.value));
      for (const [name, rows] of Object.entries(all)) {
        const marked = rows.filter((row) => row.step === step);
        const moved = { now: [{ step }], marked };
        plots[name](sameRun ? moved : { curves: rows, early: [{ step: run.early }], ...moved }, `Plot over steps. ${text}`);
      }
      if (!sameRun) plots.spectra({ spectra: spectraOf(run) }, spectraSentence(run));
      form.querySelector("output").textContent = `step ${step} of ${run.steps.at(-1)}`;
      slider.setAttribute("aria-valuetext", `step ${step}, ${when}`);
      says.textContent = text;
    }

    function sentence(run, at) {
      const step = run.steps[at];
      const when =
        step === run.early
          ? "end of the early phase"
          : step < run.early
            ? `${Math.round((100 * step) / run.early)} % of the early phase`
            : `${digits(step / run.early, 2)} times the early phase`;
      const loss = (model, part) => run[model][part][at].toPrecision(3);
      return [
        `Step ${step}, ${when}: training loss of the network ${loss("network", "train")}, of the linear model ` +
          `${loss("linear", "train")}; test loss ${loss("network", "test")} and ${loss("linear", "test")}. ` +
          `On the test set their outputs differ by ${digits(run.apart[at], 2)} (root mean square; labels are ±1).`,
        when,
      ];
    }

    function spectraSentence(run) {
      const { network, linear } = run.spectra;
      return (
        `Largest eigenvalues: network ${digits(network[0])} and ${digits(network[1])}, ` +
        `linear model ${digits(linear[0])} and ${linear.length > 1 ? digits(linear[1]) : "none"}.`
      );
    }

    show(false);
  }

  function startFormula(root) {
    const form = root.querySelector("form");
    const [text, dim, rate] = ["text", "dim", "rate"].map((name) => form.querySelector(`#formula-${name}`));
    const says = root.querySelector(".explorer-says");
    const body = root.querySelector("tbody");
    const results = root.querySelector(".explorer-plots");
    unveil(root);
    const draw = plot(root, "formula");
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", show);
    for (const button of form.querySelectorAll("button")) {
      button.addEventListener("click", () => {
        text.value = button.textContent;
        show();
      });
    }

    function show() {
      try {
        const phi = Formula.parse(text.value);
        const moments = Formula.moments(phi);
        const d = positive(dim, "The dimension d", true);
        const eta = positive(rate, "The learning rate η", false);
        const trained = new FormData(form).get("formula-trained");
        const tidy = Object.fromEntries(Object.entries(moments).map(([name, m]) => [name, Math.abs(m) < 1e-9 ? 0 : m]));
        fill(tidy, d, eta, trained);
        sentences(tidy, d, eta, trained);
        drawn(phi, tidy);
        text.removeAttribute("aria-invalid");
        results.hidden = false;
      } catch (error) {
        if (!(error instanceof Formula.FormulaError)) throw error;
        text.setAttribute("aria-invalid", "true");
        results.hidden = true;
        says.replaceChildren(paragraph(error.message));
      }
    }

    function positive(input, name, whole) {
      const number = Number(input.value);
      if (input.value.trim() && number > 0 && Number.isFinite(number) && (!whole || Number.isInteger(number))) return number;
      throw new Formula.FormulaError(`${name} must be a ${whole ? "whole " : ""}number above 0.`);
    }

    const layersOf = (trained) => (trained === "both" ? 2 : 1);
    const constant = ({ zeta }, d, eta, trained) => d / (layersOf(trained) * zeta ** 2 * eta);

    function fill(m, d, eta, trained) {
      const seesNorm = trained !== "first";
      const linear = Math.sqrt(layersOf(trained) / d) * m.zeta;
      const ones = Math.sqrt({ first: 1, second: 1 / 2, both: 3 / 2 }[trained] / d) * m.theta1;
      const features = [`${digits(linear)} · x`, digits(ones), ...(seesNorm ? ["q(x)"] : [])];
      const time = m.zeta === 0 ? "none, for ζ = 0" : `${digits(constant(m, d, eta, trained))} steps`;
      const rows = [
        ["ζ = E[φ′(g)]", digits(m.zeta, 6)],
        ["ϑ₀ = E[φ(g)]", digits(m.theta0, 6)],
        ["ϑ₁ = E[g φ′(g)], which is ν for Σ = I", digits(m.theta1, 6)],
        ["ϑ₂ = E[(½g³ − g) φ′(g)]", digits(m.theta2, 6)],
        ["features ψ(x) of the linear model", `[ ${features.join(",  ")} ]`],
        ...(seesNorm
          ? [["q(x), with r = ‖x‖/√d − 1", `${digits(m.theta0)}${signed(m.theta1)} r${signed(m.theta2)} r²`]]
          : []),
        [`time constant d/(${trained === "both" ? "2" : ""}ζ²η)`, time],
      ];
      body.replaceChildren(
        ...rows.map(([name, value]) => {
          const row = document.createElement("tr");
          const head = document.createElement("th");
          head.scope = "row";
          head.textContent = name;
          const cell = document.createElement("td");
          cell.textContent = value;
          row.append(head, cell);
          return row;
        }),
      );
    }

    const signed = (number) => `${number < 0 ? " − " : " + "}${digits(Math.abs(number))}`;

    function sentences(m, d, eta, trained) {
      const learned = [];
      const lines = [];
      if (m.zeta !== 0) learned.push("a linear function of the input");
      if (trained !== "first" && (m.theta1 !== 0 || m.theta2 !== 0)) {
        learned.push(`the length of the input (because ${m.theta1 !== 0 ? "ϑ₁" : "ϑ₂"} ≠ 0)`);
      }
      if (m.theta1 !== 0 || (trained !== "first" && m.theta0 !== 0)) learned.push("a constant");
      if (m.zeta === 0) lines.push("Nothing linear: ζ = 0, so no direction of the input is learned early.");
      if (learned.length) {
        lines.push(`Such a network learns first ${m.zeta === 0 ? "only " : ""}${join(learned)}.`);
      } else {
        lines.push("Early on such a network learns nothing at all: all its features are 0.");
      }
      if (m.zeta !== 0) {
        const time = constant(m, d, eta, trained);
        lines.push(
          `What is linear has a time constant of ${digits(time)} steps; ` +
            `the early phase, five of them, ends at step ${digits(5 * time)}.`,
        );
      }
      if (trained !== "first" && m.theta0 !== 0 && (m.theta1 !== 0 || m.theta2 !== 0)) {
        lines.push("The constant comes first, and the length slowly: with ϑ₀ ≠ 0 the feature q(x) is nearly constant.");
      }
      const largest = limit(m, d, trained);
      if (eta >= largest) lines.push(`But with η = ${digits(eta)} training diverges: the limit is about ${digits(largest)}.`);
      says.replaceChildren(...lines.map(paragraph));
    }

    // 2/λ of the largest of the eigenvalues that the features have with many samples and Σ = I.
    function limit(m, d, trained) {
      const ones = ({ first: 1, second: 1 / 2, both: 3 / 2 }[trained] * m.theta1 ** 2) / d;
      const flat = ones + (trained === "first" ? 0 : m.theta0 ** 2);
      return 2 / Math.max((layersOf(trained) * m.zeta ** 2) / d, flat);
    }

    const join = (parts) => (parts.length < 2 ? parts.join("") : `${parts.slice(0, -1).join(", ")} and ${parts.at(-1)}`);

    function paragraph(line) {
      const element = document.createElement("p");
      element.textContent = line;
      return element;
    }

    function drawn(phi, m) {
      const curves = [];
      for (let i = -120; i <= 120; i += 1) {
        const z = i / 40;
        curves.push({ z, model: "phi", value: phi(z) });
      }
      for (const z of [-3, 3]) curves.push({ z, model: "line", value: m.theta0 + m.zeta * z });
      draw({ curves }, `The activation ${text.value} from −3 to 3, and the line ${digits(m.theta0)} + ${digits(m.zeta)} z.`);
    }

    show();
  }

  document.addEventListener("DOMContentLoaded", () => {
    const [runs, formula] = ["explorer", "explorer-formula"].map((id) => document.getElementById(id));
    if (runs) startRuns(runs);
    if (formula) startFormula(formula);
  });
})();
