import type { DeviceProfile } from "@flashlm/contracts";
import { type SpeedCurve, shortBytes, speedCurves } from "./device-report.js";

const WIDTH = 720;
const HEIGHT = 420;
const LEFT = 70;
const RIGHT = 120;
const TOP = 50;
const BOTTOM = 50;
const COLORS = ["#4269d0", "#efb118", "#ff725c", "#3ca951"] as const;
const TICKS = 5;

/** A profile's speeds as an SVG picture: length on a logarithmic axis, one curve per number of reads in flight. */
export function profileSvg(profile: DeviceProfile): string {
  const curves = speedCurves(profile);
  const most = niceCeiling(
    Math.max(1, ...curves.flatMap((curve) => curve.megabytesPerSecond.map((speed) => speed ?? 0))),
  );
  const columnCount = Math.max(1, profile.chunkBytes.length - 1);
  const x = (index: number): number => LEFT + ((WIDTH - LEFT - RIGHT) * index) / columnCount;
  const y = (speed: number): number => HEIGHT - BOTTOM - ((HEIGHT - TOP - BOTTOM) * speed) / most;
  const title = `Random reads: ${profile.device.source || profile.device.deviceId}, ${profile.backend}${profile.directIo ? " direct" : " buffered"}`;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12">`,
    `<title>${escapeText(title)}</title>`,
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="#ffffff"/>`,
    `<text x="${LEFT}" y="24" font-size="15" fill="#222222">${escapeText(title)}</text>`,
    ...horizontalLines(most, y),
    ...profile.chunkBytes.map(
      (lengthBytes, index) =>
        `<text x="${x(index).toFixed(1)}" y="${HEIGHT - BOTTOM + 18}" text-anchor="middle" fill="#555555">${shortBytes(lengthBytes)}</text>`,
    ),
    `<text x="${LEFT}" y="${HEIGHT - 12}" fill="#555555">bytes per read; measured ${escapeText(profile.measuredAt.slice(0, 10))}</text>`,
    ...curves.flatMap((curve, index) => drawCurve(curve, COLORS[index]!, index, x, y)),
    "</svg>",
    "",
  ].join("\n");
}

function horizontalLines(most: number, y: (speed: number) => number): string[] {
  return Array.from({ length: TICKS + 1 }, (_, tick) => {
    const speed = (most * tick) / TICKS;
    const at = y(speed).toFixed(1);
    return (
      `<line x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${at}" y2="${at}" stroke="#dddddd"/>` +
      `<text x="${LEFT - 8}" y="${(y(speed) + 4).toFixed(1)}" text-anchor="end" fill="#555555">${speed.toFixed(0)}${tick === TICKS ? " MB/s" : ""}</text>`
    );
  });
}

function drawCurve(
  curve: SpeedCurve,
  color: string,
  index: number,
  x: (index: number) => number,
  y: (speed: number) => number,
): string[] {
  const points = curve.megabytesPerSecond.flatMap((speed, column) =>
    speed === null ? [] : [{ at: `${x(column).toFixed(1)},${y(speed).toFixed(1)}`, column, speed }],
  );
  const legendY = TOP + 18 * index;
  return [
    `<polyline fill="none" stroke="${color}" stroke-width="2" points="${points.map((point) => point.at).join(" ")}"/>`,
    ...points.map(
      ({ column, speed }) =>
        `<circle cx="${x(column).toFixed(1)}" cy="${y(speed).toFixed(1)}" r="3" fill="${color}"><title>${speed.toFixed(0)} MB/s</title></circle>`,
    ),
    `<circle cx="${WIDTH - RIGHT + 14}" cy="${legendY - 4}" r="4" fill="${color}"/>`,
    `<text x="${WIDTH - RIGHT + 24}" y="${legendY}" fill="#222222">${curve.depth} in flight</text>`,
  ];
}

/** 1, 2 or 5 times a power of ten, at least `value`. */
function niceCeiling(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((candidate) => candidate >= value) ?? value;
}

function escapeText(text: string): string {
  return text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}
