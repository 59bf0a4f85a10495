import { rowBytes } from "@flashlm/contracts";
import { createWasmKernels } from "../dist/index.js";
const MB = 2**20;
const dtypes = (process.argv[2] ?? "f16,q8_0,q4_0,q4_1").split(",");
const precs = (process.argv[3] ?? "f32,q8").split(",");
const Ts = (process.argv[4] ?? "1,32").split(",").map(Number);
const threads = Number(process.argv[5] ?? 1);
const C=4096;
const set = await createWasmKernels({ memoryBytes: 200*MB, threadCount: threads });
const m=set.memory;
const wbytes=4096*C*4; const base=m.allocate(wbytes);
const src=m.allocate(64*C*4), tgt=m.allocate(64*4096*4), tok=m.allocate(4);
const f=m.floats(src,64*C); for(let i=0;i<f.length;i++) f[i]=Math.sin(i);
for(const dtype of dtypes){
  const n=4096*rowBytes(dtype,C); const b=m.bytes(base,n); b.fill(0x93);
  const [step,first,top]={f32:[4,3,0x3c],f16:[2,1,0x28],bf16:[2,1,0x3c],q8_0:[34,1,0x14],q4_0:[18,1,0x20],q4_1:[20,1,0x20]}[dtype];
  for(let i=first;i<n;i+=step){b[i]=top; if(dtype==="q4_1") b[i+2]=0xa0;}
  for(const precision of precs) for(const T of Ts){ const R=T>1?128:2048; const n=R*rowBytes(dtype,C);
    m.words(tok,1)[0]=T;
    const p=set.compile([{op:"matmul",precision,tokenCount:tok,weight:{dtype,rowCount:R,columnCount:C,base},source:src,target:tgt,accumulate:false}]);
    let best=1e9; const end=performance.now()+ (600);
    while(performance.now()<end){const s=performance.now(); set.run(p); best=Math.min(best,performance.now()-s);}
    console.log(dtype.padEnd(5),precision,"T="+T,"threads="+threads, (n/best/1e6).toFixed(2)+" GB/s",(R*C*T/best/1e6).toFixed(2)+" GMAC/s");
  }
}
await set.close();
