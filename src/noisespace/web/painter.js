// Painting on the boards (boards.py). What is heard is heard of the whole document, so that a board
// may be drawn anew at any time.
(() => {
  const MOST = 20; // strokes that can be undone
  const kept = new WeakMap(); // a canvas: what it was before each stroke, and whether it had any
  const inks = new Map(); // a board's text: the ink that was chosen there
  let stroke = null; // the one under way: {canvas, pen, x, y, pointer}

  const part = (board, what) => board.querySelector(what);
  const before = (canvas) => {
    if (!kept.has(canvas)) kept.set(canvas, { all: [], used: false });
    return kept.get(canvas);
  };

  function may(board) { // which buttons have something to do
    const { all, used } = before(part(board, "canvas"));
    part(board, "[data-does=undo]").disabled = !all.length;
    part(board, "[data-does=clear]").disabled = !used;
  }

  function send(board) {
    may(board);
    const into = document.querySelector(`#${board.dataset.into} :is(textarea, input)`);
    const png = part(board, "canvas").toDataURL("image/png").split(",")[1];
    into.value = JSON.stringify({ board: Number(board.dataset.number), png });
    into.dispatchEvent(new Event("input", { bubbles: true }));
  }

  function keep(canvas) {
    const pen = canvas.getContext("2d", { willReadFrequently: true });
    const state = before(canvas);
    state.all.push(pen.getImageData(0, 0, canvas.width, canvas.height));
    state.used = true;
    if (state.all.length > MOST) state.all.shift();
    return pen;
  }

  // gradio changes what is there to what shall be there: a board that is drawn anew keeps its
  // canvas, which has to be emptied. The ink stays as it was chosen.
  new MutationObserver((changes) => {
    for (const { target: board } of changes) {
      const canvas = board.matches(".board") && part(board, "canvas");
      if (!canvas) continue;
      if (stroke?.canvas === canvas) stroke = null;
      canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
      kept.delete(canvas);
      may(board);
      const ink = inks.get(board.dataset.into);
      const inked = [...board.querySelectorAll("[data-ink]")].find((one) => one.dataset.ink === ink);
      if (inked) choose(board, inked);
    }
  }).observe(document, { subtree: true, attributes: true, attributeFilter: ["data-number"] });

  function place(canvas, event) { // of the pointer, in pixels of the canvas
    const box = canvas.getBoundingClientRect();
    const by = canvas.width / box.width;
    return [(event.clientX - box.left) * by, (event.clientY - box.top) * by];
  }

  function line(event) {
    const { canvas, pen } = stroke;
    pen.beginPath();
    pen.moveTo(stroke.x, stroke.y);
    const all = event.getCoalescedEvents?.() ?? [];
    for (const one of all.length ? all : [event]) {
      [stroke.x, stroke.y] = place(canvas, one);
      pen.lineTo(stroke.x + 0.01, stroke.y); // a line of no length would leave no dot
    }
    pen.stroke();
  }

  document.addEventListener("pointerdown", (event) => {
    const canvas = event.target;
    const board = canvas.matches?.(".board canvas") && canvas.closest(".board");
    if (!board || event.button || (stroke && !event.isPrimary)) return;
    event.preventDefault();
    canvas.setPointerCapture(event.pointerId);
    const chosen = part(board, ".chosen, [aria-pressed=true]");
    const pen = keep(canvas);
    pen.globalCompositeOperation = chosen?.dataset.ink === "" ? "destination-out" : "source-over";
    pen.strokeStyle = chosen?.value || chosen?.dataset.ink || "#000";
    pen.lineWidth = Number(part(board, ".board-size").value);
    if (chosen?.dataset.ink === "") pen.lineWidth += 2; // the soft rim of what it goes over too
    pen.lineCap = pen.lineJoin = "round";
    const [x, y] = place(canvas, event);
    stroke = { canvas, pen, x, y, pointer: event.pointerId };
    line(event); // a dot where nothing follows
  });
  function end() {
    const board = stroke.canvas.closest(".board");
    stroke = null;
    send(board);
  }
  document.addEventListener("pointermove", (event) => {
    if (event.pointerId !== stroke?.pointer) return;
    if (event.buttons) line(event);
    else end(); // it was let go where nobody heard of it
  });
  for (const ending of ["pointerup", "pointercancel", "lostpointercapture"])
    document.addEventListener(ending, (event) => {
      if (event.pointerId === stroke?.pointer) end();
    });

  function choose(board, chosen) {
    for (const one of board.querySelectorAll("[data-ink]")) {
      if (one.matches("button")) one.setAttribute("aria-pressed", String(one === chosen));
      else one.classList.toggle("chosen", one === chosen);
    }
    inks.set(board.dataset.into, chosen.dataset.ink);
  }
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.(".board [data-does]");
    if (!button || stroke) return;
    const board = button.closest(".board");
    const canvas = part(board, "canvas");
    const does = button.dataset.does;
    if (does === "ink") return choose(board, button);
    if (does === "undo") canvas.getContext("2d").putImageData(before(canvas).all.pop(), 0, 0);
    if (does === "clear") keep(canvas).clearRect(0, 0, canvas.width, canvas.height);
    send(board);
  });
})();
