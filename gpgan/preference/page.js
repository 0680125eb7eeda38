"use strict";
(() => {
  const by = id => document.getElementById(id);
  const {trials, ...about} = JSON.parse(by("data").textContent);
  const STORE = `gpgan-prefer-${about.page}`;
  const SIDES = ["left", "right"], CHOICES = [...SIDES, "tie"];
  const KEYS = {ArrowLeft: "left", 1: "left", ArrowRight: "right", 2: "right", ArrowDown: "tie", " ": "tie"};
  let state = load() || fresh();
  // When the images of the current trial were shown; null while they are not.
  let since = null;

  function fresh() {
    const bytes = crypto.getRandomValues(new Uint8Array(8));
    const participant = [...bytes].map(byte => byte.toString(16).padStart(2, "0")).join("");
    return {participant, started: new Date().toISOString(), finished: null, answers: []};
  }
  // Storage may be forbidden or full: the test then works, and cannot be resumed.
  function load() {
    try {
      const kept = JSON.parse(localStorage.getItem(STORE));
      const whole = kept.answers.every(({trial, answer, ms}, i) =>
        trial === trials[i].trial && CHOICES.includes(answer) && ms >= 0);
      return whole && typeof kept.participant === "string" ? kept : null;
    } catch {
      return null;
    }
  }
  function keep() {
    try {
      localStorage.setItem(STORE, JSON.stringify(state));
      return true;
    } catch {
      return false;
    }
  }
  function screen(name) {
    for (const each of ["start", "trial", "end"]) by(each).hidden = each !== name;
    scrollTo(0, 0);
  }
  function begin() {
    const done = state.answers.length;
    screen("start");
    by("kept").hidden = !keep();
    by("begin").textContent = done ? `Continue with pair ${done + 1}` : "Start";
    by("restart").hidden = !done;
    by("begin").focus();
  }
  async function show() {
    const done = state.answers.length;
    since = null;
    if (done === trials.length) return finish();
    screen("trial");
    by("position").textContent = `Pair ${done + 1} of ${trials.length}`;
    by("progress").value = done;
    by("back").disabled = !done;
    const images = SIDES.map(side => by(`${side}-image`));
    for (const image of images) image.classList.add("waiting");
    SIDES.forEach((side, i) => images[i].src = trials[done][side]);
    await Promise.all(images.map(image => image.decode()));
    fit();
    for (const image of images) image.classList.remove("waiting");
    since = performance.now();
  }
  // Both images as large as there is room for, small ones by a whole number of device pixels per pixel.
  function fit() {
    const room = document.querySelector(".pair").clientWidth, ratio = devicePixelRatio || 1;
    for (const side of SIDES) {
      const image = by(`${side}-image`), wide = image.naturalWidth, high = image.naturalHeight;
      if (!wide) continue;
      const most = Math.min((room - 46) / 2, 0.55 * innerHeight * wide / high, 420);
      const times = Math.floor(most * ratio / wide) / ratio;
      image.classList.toggle("small", times > 1);
      image.width = times * ratio >= 1 ? Math.round(times * wide) : Math.max(1, Math.floor(most));
    }
  }
  function answer(choice) {
    if (since === null) return;
    const ms = Math.round(performance.now() - since);
    state.answers.push({trial: trials[state.answers.length].trial, answer: choice, ms});
    if (state.answers.length === trials.length) state.finished = new Date().toISOString();
    keep();
    show();
  }
  function back() {
    if (!state.answers.length) return;
    state.answers.pop();
    state.finished = null;
    keep();
    show();
  }
  function text() {
    return JSON.stringify({...about, ...state}, null, 1) + "\n";
  }
  function finish() {
    screen("end");
    by("text").value = text();
    by("save").focus();
  }
  function save() {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text()], {type: "application/json"}));
    link.download = `answers-${state.participant}.json`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    by("next").hidden = false;
  }
  function restart() {
    state = fresh();
    keep();
    by("next").hidden = true;
    begin();
  }
  function press(event) {
    if (event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
    const onTrial = !by("trial").hidden;
    if (event.key === "Backspace" && (onTrial || !by("end").hidden)) {
      event.preventDefault();
      back();
    } else if (onTrial && event.key in KEYS) {
      // A button that has the focus takes the space bar, as everywhere.
      if (event.key === " " && document.activeElement.tagName === "BUTTON") return;
      event.preventDefault();
      answer(KEYS[event.key]);
    }
  }
  const actions = {begin: show, restart, back, undo: back, save, again: restart};
  for (const choice of CHOICES) actions[choice] = () => answer(choice);
  for (const [name, action] of Object.entries(actions)) {
    by(name).addEventListener("click", event => {
      // After a click of the mouse the space bar means a tie again.
      if (event.detail) document.activeElement.blur();
      action();
    });
  }
  addEventListener("keydown", press);
  addEventListener("resize", fit);
  if (state.answers.length === trials.length) finish();
  else begin();
})();
