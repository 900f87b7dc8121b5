// Painting on the boards (boards.py). What is heard is heard of the whole document, so that a board
// may be drawn anew at any time.
(() => {
  const MOST = 20; // strokes that can be undone
  const kept = new WeakMap(); // a canvas: what it was before each stroke
  let stroke = null; // the one under way: {canvas, pen, x, y}

  const part = (board, what) => board.querySelector(what);
  const before = (canvas) => {
    if (!kept.has(canvas)) kept.set(canvas, []);
    return kept.get(canvas);
  };

  function send(board) {
    const canvas = part(board, "canvas");
    part(board, "[data-does=undo]").disabled = !before(canvas).length;
    part(board, "[data-does=clear]").disabled = !before(canvas).length;
    const into = document.querySelector(`#${board.dataset.into} :is(textarea, input)`);
    const png = canvas.toDataURL("image/png").split(",")[1];
    into.value = JSON.stringify({ board: Number(board.dataset.number), png });
    into.dispatchEvent(new Event("input", { bubbles: true }));
  }

  function keep(canvas) {
    const pen = canvas.getContext("2d", { willReadFrequently: true });
    const all = before(canvas);
    all.push(pen.getImageData(0, 0, canvas.width, canvas.height));
    if (all.length > MOST) all.shift();
    return pen;
  }

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
    if (!board || event.button || stroke) return;
    event.preventDefault();
    canvas.setPointerCapture(event.pointerId);
    const ink = part(board, "[data-does=ink][aria-pressed=true]")?.dataset.ink;
    const pen = keep(canvas);
    pen.globalCompositeOperation = ink === "" ? "destination-out" : "source-over";
    pen.strokeStyle = ink || part(board, ".board-free")?.value || "#000";
    pen.lineWidth = Number(part(board, ".board-size").value);
    pen.lineCap = pen.lineJoin = "round";
    const [x, y] = place(canvas, event);
    stroke = { canvas, pen, x, y, pointer: event.pointerId };
    line(event); // a dot where nothing follows
  });
  document.addEventListener("pointermove", (event) => {
    if (stroke && event.pointerId === stroke.pointer) line(event);
  });
  for (const end of ["pointerup", "pointercancel"])
    document.addEventListener(end, (event) => {
      if (!stroke || event.pointerId !== stroke.pointer) return;
      const board = stroke.canvas.closest(".board");
      stroke = null;
      if (board) send(board); // unless it was drawn anew meanwhile
    });

  function choose(board, chosen) {
    for (const one of board.querySelectorAll("[data-does=ink]"))
      one.setAttribute("aria-pressed", String(one === chosen));
  }
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.(".board [data-does]");
    if (!button) return;
    const board = button.closest(".board");
    const canvas = part(board, "canvas");
    const does = button.dataset.does;
    if (does === "ink") return choose(board, button);
    if (does === "undo") canvas.getContext("2d").putImageData(before(canvas).pop(), 0, 0);
    if (does === "clear") keep(canvas).clearRect(0, 0, canvas.width, canvas.height);
    send(board);
  });
  document.addEventListener("input", (event) => {
    const board = event.target.matches?.(".board-free") && event.target.closest(".board");
    if (board) choose(board, null); // no button: the colour that was just picked
  });
})();
