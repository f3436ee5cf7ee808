"use strict";
// The viewer: Niivue and the volume are loaded on a click, as scripts, since pages on a disk may load nothing else.
const dialog = document.querySelector("dialog");
const stage = dialog.querySelector(".stage"), told = dialog.querySelector(".told");

const load = address => new Promise((done, failed) => {
  document.head.append(Object.assign(document.createElement("script"),
    { src: address, onload: done, onerror: () => failed(new Error(`${address} is not there`)) }));
});

// what the widget takes for a notebook's model: values by name, and who listens to their changes
const model = (values, parts) => {
  const listeners = {};
  return {
    get: name => values[name],
    set(name, value) { values[name] = value; listeners[`change:${name}`]?.(); },
    on(name, listener) { listeners[name] = listener; },
    off() {}, save_changes() {}, send() {}, onChange() {},
    widget_manager: { get_model: async name => parts[name] },
  };
};

const volumeModels = {};
const volumeModel = number => {
  const packed = Uint8Array.from(atob(globalThis.volumes[number]), letter => letter.charCodeAt(0));
  return model({
    id: number, path: { name: `${number}.nii.gz`, data: packed }, paired_img_path: {}, colormap: "gray", opacity: 1,
    colormap_negative: "", colormap_type: 0, colorbar_visible: false, frame_4d: 0, cal_min: null, cal_max: null,
    colormap_invert: false, modulation_image: null, modulate_alpha: 0,
  }, {});
};

let page = null;
const widget = async () => {
  if (page) return page;
  await load(dialog.dataset.script);
  page = model({
    volumes: [], meshes: [], height: 480, draw_opacity: 0.8, draw_fill_overwrites: true, overlay_outline_width: 0,
    overlay_alpha_shader: 1, background_masks_overlays: 0,
    opts: {
      isRadiologicalConvention: false, sagittalNoseLeft: false, isOrientationTextVisible: true, isCornerOrientationText: true,
      backColor: [0, 0, 0, 1], crosshairColor: [0.35, 0.65, 1, 0.8], show3Dcrosshair: true, crosshairWidth: 0.25, crosshairWidthUnit: "percent", multiplanarForceRender: true,
      dragAndDropEnabled: false, loadingText: "", sliceType: 3, logLevel: "silent",
    },
  }, volumeModels);
  await globalThis.niivueWidget.initialize({ model: page });
  return page;
};

const open = async button => {
  const number = button.dataset.volume;
  dialog.querySelector("h2").textContent = button.dataset.name;
  told.textContent = "Loading …";
  dialog.showModal();
  try {
    const shown = await widget();
    if (!globalThis.volumes?.[number]) await load(button.dataset.file);
    volumeModels[number] ??= volumeModel(number);
    if (!stage.firstChild) await globalThis.niivueWidget.render({ model: shown, el: stage });
    shown.set("volumes", [`IPY_MODEL_${number}`]);
    told.textContent = "";
    dialog.dataset.shown = number;
  } catch (error) {
    told.textContent = `Cannot be shown: ${error.message}`;
  }
};

for (const button of document.querySelectorAll("button[data-volume]")) {
  button.addEventListener("click", () => open(button));
}
dialog.querySelector("button").addEventListener("click", () => dialog.close());
