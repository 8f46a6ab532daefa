// Draws every chart of a page from the specification in it. Vega is loaded only where there is one.
(() => {
  "use strict";
  const bundle = new URL("vega.mjs", document.currentScript.src);
  const NARROW = 560; // pixels, below which the panels of a chart stand under one another
  let loading;

  function vega() {
    loading ??= new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = bundle;
      script.onload = () => resolve(window.vegaEmbed);
      script.onerror = () => reject(new Error(`cannot load ${bundle}`));
      document.head.append(script);
    });
    return loading;
  }

  function add(parent, tag, properties = {}, ...children) {
    const node = Object.assign(document.createElement(tag), properties);
    node.append(...children);
    parent.append(node);
    return node;
  }

  // A labelled control for a signal: radio buttons, or a slider with or without a button.
  function control(form, name, { name: label, ...bind }, more, start, send) {
    if (bind.input === "radio") {
      const box = add(form, "fieldset");
      add(box, "legend", { textContent: label });
      const buttons = bind.options.map((value, k) => {
        const line = add(box, "label");
        const checked = value === start;
        const button = add(line, "input", { type: "radio", name, checked });
        button.onchange = () => send(value);
        line.append(bind.labels?.[k] ?? value);
        return [value, button];
      });
      return (now) => buttons.forEach(([value, button]) => (button.checked = value === now));
    }
    const { min, max, step } = bind;
    const line = add(form, "label", {}, label);
    const slider = add(line, "input", { type: "range", name, min, max, step, value: start });
    const output = add(line, "output", { textContent: start, ariaHidden: "true" }); // said twice
    slider.oninput = () => send(slider.valueAsNumber);
    if (more) {
      const button = add(form, "button", { type: "button", textContent: more });
      button.onclick = () => send(slider.valueAsNumber < max ? slider.valueAsNumber + step : min);
    }
    return (now) => (output.textContent = slider.value = now);
  }

  async function draw(chart, kept = {}) {
    const embed = await vega();
    const spec = JSON.parse(chart.querySelector("script").textContent);
    if (chart.clientWidth < NARROW) {
      spec.columns = 1;
      for (const panel of spec.concat) {
        if (panel.width) panel.width = Math.min(panel.width, chart.clientWidth - 60); // and an axis
      }
    }
    const binds = new Map();
    const patch = (compiled) => {
      for (const signal of compiled.signals.filter((one) => one.bind)) {
        binds.set(signal.name, signal.bind);
        delete signal.bind;
        if (!(signal.name in kept)) continue;
        signal.value = kept[signal.name];
        delete signal.init;
      }
      return compiled;
    };
    chart.live?.remove();
    const live = (chart.live = add(chart, "div", { className: "chart-live" }));
    const form = add(live, "form", { className: "chart-controls" });
    form.onsubmit = () => false;
    const place = add(live, "div", { className: "chart-view" });
    const words = add(live, "p", { className: "chart-words" });
    words.setAttribute("aria-live", "polite");
    const { view } = await embed(place, spec, {
      mode: "vega-lite", ast: true, actions: false, renderer: "svg", defaultStyle: false, patch,
    });
    const picture = place.querySelector("svg");
    picture.setAttribute("role", "img");
    picture.setAttribute("aria-label", chart.querySelector("img").alt);
    for (const part of picture.children) part.setAttribute("aria-hidden", "true");

    const say = () => {
      const said = [...place.querySelectorAll(".says_marks text")].map((line) => line.textContent);
      if (said.join(" ") !== words.textContent) words.textContent = said.join(" ");
    };
    // first what is chosen, then what can be pointed at, each in the order of the specification
    const order = [...spec.params].sort((a, b) => Boolean(a.select) - Boolean(b.select))
      .flatMap(({ name, select, bind }) => !bind ? [] : !select ? [name]
        : Object.keys(bind).map((field) => `${name}_${field}`));
    for (const name of order) {
      const bind = binds.get(name);
      const send = async (value) => (await view.signal(name, value).runAsync(), say());
      const show = control(form, name, bind, spec.usermeta.buttons[name], view.signal(name), send);
      const follow = (_, value) => {
        if (value === null || value === undefined) return;
        kept[name] = value;
        show(value);
        setTimeout(say);
      };
      follow(name, view.signal(name));
      view.addSignalListener(name, follow);
    }
    say();
    chart.view = view;
    chart.kept = kept;
    chart.narrow = chart.clientWidth < NARROW;
    chart.classList.add("chart-drawn");
  }

  document.addEventListener("DOMContentLoaded", () => {
    const near = new IntersectionObserver((seen) => {
      for (const { isIntersecting, target } of seen) {
        if (!isIntersecting) continue;
        near.unobserve(target);
        draw(target).then(() => resized.observe(target)).catch((error) => {
          target.live?.remove(); // the still picture stays
          console.error(error);
        });
      }
    }, { rootMargin: "300px" });
    const resized = new ResizeObserver((changed) => {
      for (const { target } of changed) {
        const crossed = target.clientWidth < NARROW !== target.narrow;
        if (crossed && target.clientWidth) draw(target, target.kept);
      }
    });
    document.querySelectorAll(".lecore-chart").forEach((chart) => near.observe(chart));
  });
})();
