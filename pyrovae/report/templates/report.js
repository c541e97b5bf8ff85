"use strict";
const data = JSON.parse(document.getElementById("page-data").textContent);
const dark = matchMedia("(prefers-color-scheme: dark)");
const find = (selector, within = document) => within.querySelector(selector);
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const signed = (value, digits) => value.toFixed(digits).replace("-", "−");

function made(name, properties = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

function colourOf(label) {
  const place = data.classes.indexOf(label);
  return place < 0 ? "#888888" : data.colours[dark.matches ? "dark" : "light"][place];
}

/** The size at which an image is shown: a whole multiple of its own, near to so many CSS pixels. */
function enlarged(sprite, wanted) {
  const factor = Math.max(1, Math.round(wanted / Math.max(sprite.width, sprite.height)));
  return [sprite.width * factor, sprite.height * factor];
}

function fitted(canvas, sprite, wanted) {
  [canvas.width, canvas.height] = [sprite.width, sprite.height];
  const [width, height] = enlarged(sprite, wanted);
  Object.assign(canvas.style, { width: `${width}px`, height: `${height}px` });
}

/** Decode a sprite's PNG, once. */
function loaded(sprite) {
  sprite.image ??= Object.assign(new Image(), { src: `data:image/png;base64,${sprite.png}` });
  return sprite.image.decode().then(() => sprite.image);
}

/** Draw one image of a sprite on a canvas of its size. */
function showOne(canvas, sprite, index) {
  const x = (index % sprite.columns) * sprite.width, y = Math.floor(index / sprite.columns) * sprite.height;
  canvas.getContext("2d").drawImage(sprite.image, x, y, sprite.width, sprite.height, 0, 0, sprite.width, sprite.height);
}

document.documentElement.classList.add("ready");
